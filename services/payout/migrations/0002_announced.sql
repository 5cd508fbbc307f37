-- Whether attribution and filter know that an epoch that carried over is closed. Epochs that pay
-- say so before they are SETTLED.
ALTER TABLE epochs ADD COLUMN announced bool NOT NULL DEFAULT false;
CREATE INDEX epochs_to_announce ON epochs (epoch_id) WHERE state = 3 AND NOT announced;
