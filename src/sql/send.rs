//! `Send` by assertion, where the compiler's own proof takes minutes.
//!
//! sqlparser's syntax trees are some thousand mutually recursive types. Whether a future that
//! holds one is `Send` is proven anew for every future that contains it, and the proof of one
//! costs seconds; all of them together several minutes a build. So the proof is done once,
//! here ([`trees_are_send`]), and asserted for the few futures that hold trees across an
//! `await`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A boxed future that is `Send`.
pub type SendFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

struct Asserted<F>(F);

// SAFETY: `assert_send` demands of its callers that everything the future holds across an
// `await` is `Send`.
unsafe impl<F> Send for Asserted<F> {}

impl<F: Future> Future for Asserted<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: the field is pinned whenever the wrapper is; nothing moves out of it.
        unsafe { self.map_unchecked_mut(|s| &mut s.0) }.poll(cx)
    }
}

/// Boxes a future as `Send` without proof.
///
/// # Safety
/// Everything that the future holds across an `await` must be `Send`: syntax trees, plans,
/// sessions and other `Send` futures are; lock guards of threads, `Rc` and cells are not.
pub unsafe fn assert_send<'a, T>(future: impl Future<Output = T> + 'a) -> SendFuture<'a, T> {
    Box::pin(Asserted(future))
}

/// The proof for the trees themselves, done once.
const fn trees_are_send<T: Send + Sync>() {}
const _: () = trees_are_send::<sqlparser::ast::Statement>();
