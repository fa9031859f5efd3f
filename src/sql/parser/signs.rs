//! `a>-1`: PostgreSQL ends no operator in a sign, unless it holds one of `~ ! @ # % ^ & | ? \``.
//!
//! The tokenizer takes all the characters of an operator that stand together; here the sign
//! becomes a token of its own again.

use sqlparser::tokenizer::{Token, TokenWithSpan};

/// Divides the operators that end in a sign.
pub fn divide(tokens: &mut Vec<TokenWithSpan>) {
    if !tokens.iter().any(|t| divided(&t.token).is_some()) {
        return;
    }
    let mut out = Vec::with_capacity(tokens.len() + 4);
    for token in tokens.drain(..) {
        let Some((head, signs)) = divided(&token.token) else {
            out.push(token);
            continue;
        };
        let mut at = token.span;
        let whole = token.span.end.column - token.span.start.column;
        at.end.column = at.start.column + whole.saturating_sub(signs.len() as u64);
        out.push(TokenWithSpan::new(head, at));
        for sign in signs {
            at.start.column = at.end.column;
            at.end.column += 1;
            out.push(TokenWithSpan::new(sign, at));
        }
    }
    *tokens = out;
}

/// The operator in front, and the signs that follow it.
fn divided(token: &Token) -> Option<(Token, Vec<Token>)> {
    let Token::CustomBinaryOperator(text) = token else { return None };
    let head = text.trim_end_matches(['-', '+']);
    if head.len() == text.len() || head.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']) {
        return None;
    }
    let head_token = match head {
        ">" => Token::Gt,
        "<" => Token::Lt,
        ">=" => Token::GtEq,
        "<=" => Token::LtEq,
        "<>" => Token::Neq,
        "=" => Token::Eq,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        "*" => Token::Mul,
        "/" => Token::Div,
        _ => return None,
    };
    let sign = |c: char| if c == '-' { Token::Minus } else { Token::Plus };
    Some((head_token, text[head.len()..].chars().map(sign).collect()))
}
