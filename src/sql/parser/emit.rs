//! The emit clause: when results are emitted, and what becomes of late rows.
//!
//! It follows the end of a query. Its parts come in any order, each at most once; EMIT, if
//! written, is first. Triggers bind, from loose to tight: UNTIL, THEN, OR, AND.

use sqlparser::tokenizer::Token;

use super::{Expr, Parsed, StatementReader, dialect};
use crate::sql::ast::{Accumulation, Closing, EmitClause, EmitPolicy, ExprText, OnTime, Trigger};

impl StatementReader<'_> {
    /// The clause, if there is any part of it.
    pub(super) fn emit_clause(&mut self) -> Parsed<Option<EmitClause>> {
        if !dialect::at_emit(&self.parser) {
            return Ok(None);
        }
        let start = self.next_span_start();
        let mut clause = EmitClause { position: self.position(), ..EmitClause::default() };
        if self.word("EMIT") {
            clause.policy = Some(self.emit_policy()?);
        }
        while self.emit_part(&mut clause)? {}
        clause.text = self.text_since(start);
        Ok(Some(clause))
    }

    /// Reads one part after the policy, if there is one.
    fn emit_part(&mut self, clause: &mut EmitClause) -> Parsed<bool> {
        let position = self.position();
        let repeated = if self.words(&["ALLOWED", "LATENESS"]) {
            let start = self.next_span_start();
            let expr = self.interval()?;
            clause.allowed_lateness.replace(ExprText { expr, text: self.text_since(start) }).is_some()
        } else if self.word("CLOSING") {
            let closing = if self.words(&["IF", "NOT", "EMPTY"]) {
                Closing::IfNotEmpty
            } else if self.word("ALWAYS") {
                Closing::Always
            } else {
                return self.unexpected("IF NOT EMPTY or ALWAYS");
            };
            clause.closing.replace(closing).is_some()
        } else if self.word("DISCARDING") {
            clause.accumulation.replace(Accumulation::Discarding).is_some()
        } else if self.words(&["ACCUMULATING", "AND", "RETRACTING"]) {
            clause.accumulation.replace(Accumulation::AccumulatingAndRetracting).is_some()
        } else if self.word("ACCUMULATING") {
            clause.accumulation.replace(Accumulation::Accumulating).is_some()
        } else if self.words(&["LATE", "DATA", "TO"]) {
            let name = self.object_name()?;
            clause.late_data_to.replace(name).is_some()
        } else {
            return Ok(false);
        };
        if repeated { self.refuse("conflicting or redundant options", position) } else { Ok(true) }
    }

    fn emit_policy(&mut self) -> Parsed<EmitPolicy> {
        if self.word("CHANGES") || self.words(&["ON", "UPDATE"]) {
            return Ok(EmitPolicy::Changes);
        }
        if self.word("FINAL") || self.words(&["ON", "WINDOW", "CLOSE"]) {
            return Ok(EmitPolicy::Final);
        }
        if self.word("WHEN") {
            return Ok(EmitPolicy::When(self.trigger()?));
        }
        self.emit_phases()
    }

    fn emit_phases(&mut self) -> Parsed<EmitPolicy> {
        let (mut early, mut on_time, mut late) = (None, None, None);
        loop {
            let position = self.position();
            let in_order = if self.word("EARLY") {
                let trigger = self.trigger()?;
                early.replace(trigger).is_none() && on_time.is_none() && late.is_none()
            } else if self.words(&["ON", "TIME"]) {
                let if_not_empty = self.words(&["IF", "NOT", "EMPTY"]);
                on_time.replace(OnTime { if_not_empty }).is_none() && late.is_none()
            } else if self.word("LATE") {
                let trigger = self.trigger()?;
                late.replace(trigger).is_none()
            } else {
                return self
                    .unexpected("CHANGES, ON UPDATE, FINAL, ON WINDOW CLOSE, WHEN, EARLY, ON TIME or LATE");
            };
            if !in_order {
                return self
                    .refuse("EARLY, ON TIME and LATE must be given once each, in this order", position);
            }
            if !self.token(&Token::Comma) {
                return Ok(EmitPolicy::Phases { early, on_time, late });
            }
        }
    }

    fn trigger(&mut self) -> Parsed<Trigger> {
        let mut left = self.trigger_sequence()?;
        while self.word("UNTIL") || self.words(&["OR", "FINALLY"]) {
            left = Trigger::Until(Box::new(left), Box::new(self.trigger_sequence()?));
        }
        Ok(left)
    }

    fn trigger_sequence(&mut self) -> Parsed<Trigger> {
        let mut left = self.trigger_disjunction()?;
        while self.word("THEN") {
            left = Trigger::Then(Box::new(left), Box::new(self.trigger_disjunction()?));
        }
        Ok(left)
    }

    fn trigger_disjunction(&mut self) -> Parsed<Trigger> {
        let mut left = self.trigger_conjunction()?;
        while !self.at_words(&["OR", "FINALLY"]) && self.word("OR") {
            left = Trigger::Or(Box::new(left), Box::new(self.trigger_conjunction()?));
        }
        Ok(left)
    }

    fn trigger_conjunction(&mut self) -> Parsed<Trigger> {
        let mut left = self.trigger_atom()?;
        while self.word("AND") {
            left = Trigger::And(Box::new(left), Box::new(self.trigger_atom()?));
        }
        Ok(left)
    }

    fn trigger_atom(&mut self) -> Parsed<Trigger> {
        if self.word("REPEATEDLY") {
            self.enter_trigger()?;
            return Ok(Trigger::Repeatedly(Box::new(self.parenthesized_trigger()?)));
        }
        if self.peek().token == Token::LParen {
            return self.parenthesized_trigger();
        }
        if self.word("EVERY") {
            let interval = self.interval()?;
            let offset = if self.word("OFFSET") { Some(self.interval()?) } else { None };
            return Ok(Trigger::Every { interval, offset });
        }
        if !self.word("AFTER") {
            return self.unexpected("a trigger: AFTER, EVERY, REPEATEDLY or '('");
        }
        if self.word("WATERMARK") {
            return Ok(Trigger::AfterWatermark);
        }
        if self.word("DELAY") {
            return Ok(Trigger::AfterDelay(self.interval()?));
        }
        let position = self.position();
        match self.integer()? {
            Some(n) if n > 0 => {
                if self.one_of(&["ROWS", "ROW"]).is_none() {
                    return self.unexpected("ROW or ROWS");
                }
                Ok(Trigger::AfterRows(n as u64))
            }
            Some(_) => self.refuse("the number of rows of a trigger must be positive", position),
            None => self.unexpected("a number of rows, DELAY or WATERMARK"),
        }
    }

    fn enter_trigger(&mut self) -> Parsed<()> {
        if self.peek().token == Token::LParen { Ok(()) } else { self.unexpected("'('") }
    }

    fn parenthesized_trigger(&mut self) -> Parsed<Trigger> {
        self.trigger_depth += 1;
        if self.trigger_depth > super::RECURSION_MAX {
            return Err(super::too_complex().at(self.position()).into());
        }
        self.expect_token(&Token::LParen)?;
        let trigger = self.trigger()?;
        self.expect_token(&Token::RParen)?;
        self.trigger_depth -= 1;
        Ok(trigger)
    }

    /// `INTERVAL '…'`, and no more: a following OR belongs to the trigger.
    fn interval(&mut self) -> Parsed<Box<Expr>> {
        if !self.at_word("INTERVAL") {
            return self.unexpected("INTERVAL");
        }
        Ok(Box::new(self.parser.parse_prefix()?))
    }
}
