//! The functions of Headwater's SQL: PostgreSQL's, over DataFusion's where those agree.
//!
//! [`register`] puts them into a session state, replacing DataFusion's functions of the
//! same name; [`register_session`] adds those that depend on the session (clock, user,
//! settings). [`scalar`] looks one up for planners.

pub mod aggregate;
mod alternatives;
pub mod arith;
pub mod array;
mod bytes;
pub mod cast;
pub mod column;
pub mod datum;
pub mod decimal;
mod fields;
mod float_ops;
pub mod format;
pub mod json;
mod json_text;
pub mod jsonb;
mod jsonb_edit;
mod jsonb_path;
pub mod marker;
pub mod math;
mod number_format;
mod overlaps;
pub mod parse;
pub mod pattern;
mod regexp;
pub mod series;
pub mod system;
pub mod template;
mod template_parse;
pub mod temporal;
pub mod text;
pub mod time;
mod trigonometry;
pub mod window;
pub mod zone;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

use self::aggregate::Total;
use self::arith::{Arith, ArithOp};
use self::datum::{Function, RowFunction};
use self::system::SessionVars;
use crate::error::{HwError, Result};

static SCALARS: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
    let rows = [
        array::functions(),
        bytes::functions(),
        trigonometry::functions(),
        math::functions(),
        text::functions(),
        time::functions(),
        json::functions(),
        jsonb::functions(),
        series::functions(),
        jsonb_edit::functions(),
        jsonb_path::functions(),
        number_format::functions(),
        pattern::functions(),
        regexp::functions(),
        system::functions(),
    ];
    let mut all: Vec<Arc<ScalarUDF>> = rows.into_iter().flatten().map(udf).collect();
    let ops = [ArithOp::Add, ArithOp::Sub, ArithOp::Mul, ArithOp::Div, ArithOp::Rem, ArithOp::Pow];
    all.extend(ops.map(Arith::udf));
    all.extend(marker::functions());
    #[cfg(test)]
    all.push(udf(tests::slow_while_closed()));
    all
});

static BY_NAME: LazyLock<HashMap<String, Arc<ScalarUDF>>> = LazyLock::new(|| {
    let names = SCALARS.iter().flat_map(|f| {
        std::iter::once(f.name().to_string())
            .chain(f.aliases().iter().cloned())
            .map(move |n| (n, Arc::clone(f)))
    });
    names.collect()
});

fn udf(function: Function) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(RowFunction::new(function)))
}

/// One of our functions by name.
pub fn scalar(name: &str) -> Result<Arc<ScalarUDF>> {
    BY_NAME.get(name).cloned().ok_or_else(|| HwError::internal(format!("function {name} is not registered")))
}

/// Registers everything that does not depend on the session. Registration of a name that
/// exists replaces it and cannot fail.
pub fn register(state: &mut SessionState) {
    for function in SCALARS.iter() {
        replace(state, Arc::clone(function));
    }
    let _ = state.register_udaf(Arc::new(AggregateUDF::new_from_impl(Total::sum())));
    let _ = state.register_udaf(Arc::new(AggregateUDF::new_from_impl(Total::avg())));
    for marker in super::pane_columns::markers() {
        let _ = state.register_udaf(marker);
    }
    window::register(state);
    alternatives::register(state);
    let families = [
        aggregate::bools::functions(),
        aggregate::ordered::functions(),
        aggregate::moments::functions(),
        aggregate::sketch::functions(),
    ];
    for function in families.into_iter().flatten() {
        let _ = state.register_udaf(Arc::new(function));
    }
}

/// Registers a function in place of whatever had one of its names. The old function goes
/// with all of its aliases: a state that is rebuilt registers every function again, and a
/// leftover alias would bring the old function back.
fn replace(state: &mut SessionState, function: Arc<ScalarUDF>) {
    let names = std::iter::once(function.name().to_string()).chain(function.aliases().iter().cloned());
    for name in names {
        if let Some(old) = state.scalar_functions().get(&name).cloned() {
            let _ = state.deregister_udf(old.name());
        }
    }
    let _ = state.register_udf(function);
}

/// Registers the functions of one session at one time.
pub fn register_session(state: &mut SessionState, now_micros: i64, vars: &Arc<SessionVars>) {
    for function in system::session_functions(now_micros, vars) {
        replace(state, function);
    }
}
