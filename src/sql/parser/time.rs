//! Deterministic time: ADVANCE CLOCK, ADVANCE WATERMARK and STEP.

use super::{Parsed, StatementReader};
use crate::sql::ast::{AdvanceClock, StatementKind};

impl StatementReader<'_> {
    pub(super) fn advance(&mut self) -> Parsed<StatementKind> {
        self.expect_word("ADVANCE")?;
        if self.word("CLOCK") {
            return Ok(StatementKind::AdvanceClock(if self.word("TO") {
                AdvanceClock::To(self.expression()?)
            } else if self.word("BY") {
                AdvanceClock::By(self.expression()?)
            } else {
                return self.unexpected("TO or BY");
            }));
        }
        if self.word("WATERMARK") {
            self.expect_word("FOR")?;
            let source = self.object_name()?;
            self.expect_word("TO")?;
            return Ok(StatementKind::AdvanceWatermark { source, to: self.expression()? });
        }
        self.unexpected("CLOCK or WATERMARK")
    }

    pub(super) fn step(&mut self) -> Parsed<StatementKind> {
        self.expect_word("STEP")?;
        Ok(StatementKind::Step)
    }
}
