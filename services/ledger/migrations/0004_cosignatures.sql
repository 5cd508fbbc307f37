-- Cosignatures of witnesses under signed tree heads, as signature lines of a note.
CREATE TABLE cosignatures (
  size    bigint NOT NULL CHECK (size > 0),
  witness text   NOT NULL,                    -- the name of its key
  line    text   NOT NULL,
  PRIMARY KEY (size, witness)
);
SELECT public.rochdale_append_only('cosignatures');
