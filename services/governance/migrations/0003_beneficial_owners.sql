-- Ids of the beneficial owners that the last attestation names, increasing, 32 bytes each.

ALTER TABLE principals ADD COLUMN kyc_owners bytea[] NOT NULL DEFAULT '{}';
