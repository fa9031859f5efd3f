//! Cursors and SUBSCRIBE.

use sqlparser::tokenizer::Token;

use super::{Parsed, StatementReader};
use crate::sql::ast::{
    CursorBody, DeclareCursor, Fetch, FetchDirection, StatementKind, Subscribe, SubscribeTarget,
};

impl StatementReader<'_> {
    pub(super) fn declare_cursor(&mut self) -> Parsed<StatementKind> {
        self.expect_word("DECLARE")?;
        let name = self.name()?;
        let (mut binary, mut scroll) = (false, None);
        loop {
            if self.word("BINARY") {
                binary = true;
            } else if self.words(&["NO", "SCROLL"]) {
                scroll = Some(false);
            } else if self.word("SCROLL") {
                scroll = Some(true);
            } else if self.one_of(&["INSENSITIVE", "ASENSITIVE"]).is_none() {
                break;
            }
        }
        self.expect_word("CURSOR")?;
        let hold = self.words(&["WITH", "HOLD"]);
        if !hold {
            let _ = self.words(&["WITHOUT", "HOLD"]);
        }
        self.expect_word("FOR")?;
        let body = if self.at_word("SUBSCRIBE") {
            CursorBody::Subscribe(Box::new(self.subscribe()?))
        } else {
            CursorBody::Query(self.query_text()?)
        };
        let cursor = DeclareCursor { name, binary, scroll, hold, body };
        Ok(StatementKind::DeclareCursor(Box::new(cursor)))
    }

    pub(super) fn fetch(&mut self) -> Parsed<StatementKind> {
        let is_move = self.word("MOVE");
        if !is_move {
            self.expect_word("FETCH")?;
        }
        let direction = self.fetch_direction()?;
        let _ = self.one_of(&["FROM", "IN"]);
        let cursor = self.name()?;
        let with = self.with_options()?.unwrap_or_default();
        Ok(StatementKind::Fetch(Fetch { is_move, cursor, direction, with }))
    }

    fn fetch_direction(&mut self) -> Parsed<FetchDirection> {
        if let Some(count) = self.integer()? {
            return Ok(FetchDirection::Forward(count));
        }
        let alone = matches!(self.parser.peek_nth_token_ref(1).token, Token::EOF | Token::SemiColon);
        if alone || matches!(&self.parser.peek_token_ref().token, Token::Word(w) if w.quote_style.is_some()) {
            return Ok(FetchDirection::Forward(1));
        }
        let words = ["NEXT", "PRIOR", "FIRST", "LAST", "ABSOLUTE", "RELATIVE", "ALL", "FORWARD", "BACKWARD"];
        Ok(match self.one_of(&words) {
            Some("PRIOR") => FetchDirection::Backward(1),
            Some("FIRST") => FetchDirection::First,
            Some("LAST") => FetchDirection::Last,
            Some("ALL") => FetchDirection::ForwardAll,
            Some("ABSOLUTE") => FetchDirection::Absolute(self.expect_integer()?),
            Some("RELATIVE") => FetchDirection::Relative(self.expect_integer()?),
            Some("FORWARD") if self.word("ALL") => FetchDirection::ForwardAll,
            Some("FORWARD") => FetchDirection::Forward(self.integer()?.unwrap_or(1)),
            Some("BACKWARD") if self.word("ALL") => FetchDirection::BackwardAll,
            Some("BACKWARD") => FetchDirection::Backward(self.integer()?.unwrap_or(1)),
            _ => FetchDirection::Forward(1),
        })
    }

    fn expect_integer(&mut self) -> Parsed<i64> {
        match self.integer()? {
            Some(n) => Ok(n),
            None => self.unexpected("an integer"),
        }
    }

    pub(super) fn close_cursor(&mut self) -> Parsed<StatementKind> {
        self.expect_word("CLOSE")?;
        let name = if self.word("ALL") { None } else { Some(self.name()?) };
        Ok(StatementKind::CloseCursor { name })
    }

    pub(super) fn subscribe(&mut self) -> Parsed<Subscribe> {
        self.expect_word("SUBSCRIBE")?;
        let _ = self.word("TO");
        let is_query = self.peek().token == Token::LParen
            || ["SELECT", "WITH", "VALUES"].iter().any(|w| self.at_word(w));
        let to = if is_query {
            SubscribeTarget::Query(self.query_text()?)
        } else {
            SubscribeTarget::Object(self.object_name()?)
        };
        let mut subscribe = Subscribe { to, with: Default::default(), as_of: None, up_to: None };
        loop {
            if subscribe.with.is_empty() && self.at_word("WITH") {
                subscribe.with = self.with_options()?.unwrap_or_default();
            } else if subscribe.as_of.is_none() && self.words(&["AS", "OF"]) {
                subscribe.as_of = Some(self.expression()?);
            } else if subscribe.up_to.is_none() && self.words(&["UP", "TO"]) {
                subscribe.up_to = Some(self.expression()?);
            } else {
                return Ok(subscribe);
            }
        }
    }
}
