//! `INTERVAL(n) '…'` in the tokens: sqlparser reads the digits and forgets them.
//!
//! It becomes the cast `'…'::INTERVAL(n)`.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::{is_word, words};

/// The word, the digits in parentheses, and the literal.
const WORDS: usize = 5;

/// Rewrites them all.
pub(super) fn keep_digits(tokens: &mut Vec<TokenWithSpan>) {
    if !tokens.iter().any(|t| is_word(&t.token, "INTERVAL")) {
        return;
    }
    let words = words(tokens);
    for at in words.windows(WORDS).rev() {
        let token = |n: usize| &tokens[at[n]].token;
        let given = is_word(token(0), "INTERVAL")
            && *token(1) == Token::LParen
            && matches!(token(2), Token::Number(..))
            && *token(3) == Token::RParen
            && matches!(token(4), Token::SingleQuotedString(_));
        if given {
            let cast = TokenWithSpan { token: Token::DoubleColon, span: tokens[at[0]].span };
            let literal = tokens.remove(at[4]);
            tokens.splice(at[0]..at[0], [literal, cast]);
        }
    }
}
