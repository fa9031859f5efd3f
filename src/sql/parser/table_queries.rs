//! `TABLE t` as a query, in the tokens.
//!
//! sqlparser reads it with whatever follows the name. Where it stands for a query, the word
//! becomes `SELECT * FROM`, at the same place of the text. In the arguments of a window function
//! `TABLE t` names a relation and stays.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::{is_word, words};

/// What may stand before a query.
const BEFORE: [&str; 6] = ["AS", "UNION", "ALL", "INTERSECT", "EXCEPT", "DISTINCT"];
/// What may stand before a query's parenthesis; other words name functions.
const BEFORE_PARENTHESIS: [&str; 16] = [
    "AS",
    "IN",
    "FROM",
    "JOIN",
    "EXISTS",
    "LATERAL",
    "UNION",
    "ALL",
    "INTERSECT",
    "EXCEPT",
    "ANY",
    "SOME",
    "ARRAY",
    "SELECT",
    "WHERE",
    "NOT",
];
/// What may follow the name.
const AFTER: [&str; 7] = ["ORDER", "LIMIT", "OFFSET", "FETCH", "UNION", "INTERSECT", "EXCEPT"];

/// Rewrites them all.
pub(super) fn expand(tokens: &mut Vec<TokenWithSpan>) {
    if !tokens.iter().any(|t| is_word(&t.token, "TABLE")) {
        return;
    }
    let words = words(tokens);
    let found: Vec<usize> =
        (0..words.len()).filter(|n| is_query(tokens, &words, *n)).map(|n| words[n]).collect();
    for at in found.into_iter().rev() {
        let span = tokens[at].span;
        let made = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
        tokens.splice(at..=at, made.into_iter().map(|token| TokenWithSpan { token, span }));
    }
}

fn is_query(tokens: &[TokenWithSpan], words: &[usize], n: usize) -> bool {
    let token = |n: Option<usize>| n.and_then(|n| words.get(n)).map(|i| &tokens[*i].token);
    let one_of = |token: &Token, all: &[&str]| all.iter().any(|w| is_word(token, w));
    if !token(Some(n)).is_some_and(|t| is_word(t, "TABLE")) {
        return false;
    }
    let starts = match token(n.checked_sub(1)) {
        None | Some(Token::SemiColon) => true,
        Some(Token::LParen) => match token(n.checked_sub(2)) {
            Some(word @ Token::Word(_)) => one_of(word, &BEFORE_PARENTHESIS),
            _ => true,
        },
        Some(word) => one_of(word, &BEFORE),
    };
    let mut next = n + 1;
    let mut name = matches!(token(Some(next)), Some(Token::Word(_)));
    while name && token(Some(next + 1)) == Some(&Token::Period) {
        next += 2;
        name = matches!(token(Some(next)), Some(Token::Word(_)));
    }
    let ends = match token(Some(next + 1)) {
        None | Some(Token::EOF | Token::SemiColon | Token::RParen) => true,
        Some(word) => one_of(word, &AFTER),
    };
    starts && name && ends
}
