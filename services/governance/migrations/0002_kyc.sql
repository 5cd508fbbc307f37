-- What a KYC verifier attested about a principal last: until when it holds, when it was signed (an
-- older document is refused), and its log entry. A row without an event has nothing attested.

ALTER TABLE principals
  ADD COLUMN kyc_expires_us bigint NOT NULL DEFAULT 0,
  ADD COLUMN kyc_signed_us  bigint NOT NULL DEFAULT 0,
  ADD COLUMN kyc_event_id   uuid;
ALTER TABLE principals ADD CONSTRAINT kyc_level_known CHECK (kyc_level BETWEEN 0 AND 3);
