//! Vectors of state that grow by an eighth instead of doubling, so that their room is what they
//! hold and little more.

/// The least number of elements that room is made for.
const MORE_MIN: usize = 64;

pub trait Grow<T> {
    /// Lengthens to `length` elements.
    fn grow(&mut self, length: usize, value: T)
    where
        T: Clone;
    fn grow_with(&mut self, length: usize, value: impl FnMut() -> T);
}

fn make_room<T>(elements: &mut Vec<T>, length: usize) {
    if length > elements.capacity() {
        let step = (elements.len() / 8).max(MORE_MIN);
        elements.reserve_exact(step.max(length - elements.len()));
    }
}

/// Gives back the room of a list of free places that has become short.
pub fn trim_free(free: &mut Vec<u32>) {
    if free.capacity() > 4 * free.len() + MORE_MIN {
        free.shrink_to(2 * free.len());
    }
}

impl<T> Grow<T> for Vec<T> {
    fn grow(&mut self, length: usize, value: T)
    where
        T: Clone,
    {
        make_room(self, length);
        self.resize(length, value);
    }

    fn grow_with(&mut self, length: usize, value: impl FnMut() -> T) {
        make_room(self, length);
        self.resize_with(length, value);
    }
}
