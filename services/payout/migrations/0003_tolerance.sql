-- Of credits whose model is not exact: what a loss behind them may differ by, and below which
-- improvement they count as none, nano-nats. 0 where the model is exact.
ALTER TABLE statement_lines ADD COLUMN tolerance bigint NOT NULL DEFAULT 0;
ALTER TABLE statement_lines ADD COLUMN deadband bigint NOT NULL DEFAULT 0;
