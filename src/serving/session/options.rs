//! Options of WITH as the catalog keeps them.

use crate::catalog::{OptionText, WithOptions};
use crate::error::{HwError, Result, sqlstate};
use crate::sql::ast::{OptionLiteral, Options};

/// Options as texts and names of secrets.
pub(super) fn with_options(options: &Options) -> WithOptions {
    let text = |literal: &OptionLiteral| match literal {
        OptionLiteral::Secret(name) => OptionText::Secret(name.name.clone()),
        other => OptionText::Text(other.as_text()),
    };
    WithOptions(options.iter().map(|(key, option)| (key.clone(), text(&option.value))).collect())
}

/// 22023 for an option that a statement does not have.
pub(super) fn check_known(options: &Options, valid: &[&str], what: &str) -> Result<()> {
    let Some((key, option)) = options.iter().find(|(key, _)| !valid.contains(&key.as_str())) else {
        return Ok(());
    };
    let text = format!("unrecognized option \"{key}\" of {what}");
    let hint = match valid {
        [] => "There are no options for it.".to_string(),
        valid => format!("Valid options are: {}.", valid.join(", ")),
    };
    Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text).with_hint(hint).at(option.position))
}

/// A flag: alone or with a boolean value.
pub(super) fn flag(options: &Options, key: &str, default: bool) -> Result<bool> {
    let Some(option) = options.get(key) else { return Ok(default) };
    match option.value.as_text().to_lowercase().as_str() {
        "true" | "on" | "1" => Ok(true),
        "false" | "off" | "0" => Ok(false),
        other => {
            let text = format!("invalid value for option \"{key}\": \"{other}\"");
            Err(HwError::new(sqlstate::INVALID_PARAMETER_VALUE, text).with_hint("Write true or false."))
        }
    }
}
