"""Statements: what a principal contributed, what was refused and why, what it earned."""

import csv
import io

COLUMNS = ["epoch_id", "round_number", "update_id", "outcome", "reason", "credit_nanonats",
           "estimate_nanonats", "standard_error_nanonats", "tolerance_nanonats",
           "deadband_nanonats", "payment_microtokens", "paid", "transfer_id", "credit_event_id",
           "decision_event_id", "statement_event_id"]


class Statements:
    """The statements of a principal over its epochs, oldest first. A sequence of
    payout.v1.Statement with tables and sums."""

    def __init__(self, items):
        self.items = list(items)

    def __iter__(self):
        return iter(self.items)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    @property
    def payment_microtokens(self) -> int:
        return sum(s.payment_microtokens for s in self.items)

    @property
    def credit_nanonats(self) -> int:
        return sum(s.credit_nanonats for s in self.items)

    def rows(self) -> list:
        """One dict per update. The payment is that of the whole statement and stands in its first
        row only, so that the column adds up."""
        rows = []
        for statement in self.items:
            for number, line in enumerate(statement.lines):
                rows.append({
                    "epoch_id": statement.epoch_id,
                    "round_number": line.round_number,
                    "update_id": line.update_id,
                    "outcome": line.outcome,
                    "reason": line.reason,
                    "credit_nanonats": line.credit_nanonats,
                    "estimate_nanonats": line.estimate_nanonats,
                    "standard_error_nanonats": line.standard_error_nanonats,
                    "tolerance_nanonats": line.tolerance_nanonats,
                    "deadband_nanonats": line.deadband_nanonats,
                    "payment_microtokens": statement.payment_microtokens if number == 0 else 0,
                    "paid": statement.paid,
                    "transfer_id": statement.transfer_id,
                    "credit_event_id": line.credit_entry.event_id,
                    "decision_event_id": line.decision_entry.event_id,
                    "statement_event_id": statement.entry.event_id,
                })
        return rows

    def to_csv(self, path=None) -> str:
        """CSV with a header; also written to `path` where one is given."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows())
        if path is not None:
            with open(path, "w", encoding="utf-8", newline="") as file:
                file.write(out.getvalue())
        return out.getvalue()

    def to_pandas(self):
        """A pandas DataFrame of rows(); pandas is imported here and needed nowhere else."""
        try:
            import pandas
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "to_pandas needs pandas (Debian: python3-pandas); to_csv and rows need nothing",
                name="pandas") from error
        return pandas.DataFrame(self.rows(), columns=COLUMNS)

    def __str__(self):
        if not self.items:
            return "no statements yet: no epoch with your updates has been closed"
        lines = []
        for s in self.items:
            state = "paid" if s.paid else "nothing due" if not s.payment_microtokens else "due"
            lines.append(f"epoch {s.epoch_id}: {s.payment_microtokens / 1e6:.6f} tokens ({state}),"
                         f" {s.credit_nanonats} of {s.credit_sum_nanonats} nano-nats of credit")
            for line in s.lines:
                reason = f" ({line.reason})" if line.reason else ""
                lines.append(f"  round {line.round_number}: {line.outcome}{reason}, credit "
                             f"{line.credit_nanonats} nano-nats, update {line.update_id}")
        return "\n".join(lines)
