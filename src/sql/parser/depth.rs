//! A bound on the depth of what will be parsed, checked on tokens before there is a tree.
//!
//! Chains of operators and of set operations are parsed in a loop into trees as deep as the
//! chain is long, and trees are dropped, cloned and planned by recursion. So the operators
//! that are open at once, over all enclosing parentheses, are counted and limited.
//!
//! `FROM ((SELECT …` may begin a derived table or a join in parentheses, and sqlparser
//! tries both; nested, that takes time exponential in the depth. So the spare parentheses
//! that are open at once are limited, too.

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan};

/// Largest number of operators between the root and a leaf of one statement.
pub const EXPRESSION_DEPTH_MAX: usize = 4000;

/// Largest number of open parentheses around subqueries beyond one for each.
const SPARE_PARENTHESES_MAX: usize = 10;

/// One level of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Operators since the last comma or clause.
    operators: usize,
    /// UNION and its kin since the parenthesis opened.
    set_operations: usize,
    /// Spare parentheses before the SELECT of this level.
    spare: usize,
}

/// The location at which the limit is passed, if it is.
pub(super) fn check(tokens: &[TokenWithSpan]) -> Result<(), Location> {
    let mut levels = vec![Level::default()];
    let (mut outer, mut run, mut spare) = (0, 0, 0);
    for token in tokens {
        let nested = levels.len() > 1;
        let Some(level) = levels.last_mut() else { return Ok(()) };
        if matches!(token.token, Token::Whitespace(_)) {
            continue;
        }
        let opened = std::mem::take(&mut run);
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                run = opened + 1;
                outer += level.operators + level.set_operations + 1;
                levels.push(Level::default());
            }
            Token::RParen | Token::RBracket | Token::RBrace if nested => {
                spare -= level.spare;
                levels.pop();
                if let Some(now) = levels.last_mut() {
                    outer -= now.operators + now.set_operations + 1;
                    now.operators += usize::from(token.token == Token::RBracket);
                }
            }
            Token::Comma => level.operators = 0,
            Token::SemiColon => *level = Level::default(),
            Token::Word(word) => match word.keyword {
                Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT => {
                    level.operators = 0;
                    level.set_operations += 1;
                }
                Keyword::SELECT if opened > 1 => {
                    level.spare += opened - 1;
                    spare += opened - 1;
                }
                Keyword::SELECT | Keyword::FROM | Keyword::WHERE | Keyword::HAVING | Keyword::JOIN => {
                    level.operators = 0;
                }
                Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::IS | Keyword::LIKE | Keyword::CASE => {
                    level.operators += 1;
                }
                _ => {}
            },
            Token::Number(..) | Token::SingleQuotedString(_) | Token::Period => {}
            _ => level.operators += 1,
        }
        let open = outer + levels.last().map_or(0, |l| l.operators + l.set_operations);
        if open > EXPRESSION_DEPTH_MAX || spare > SPARE_PARENTHESES_MAX {
            return Err(token.span.start);
        }
    }
    Ok(())
}
