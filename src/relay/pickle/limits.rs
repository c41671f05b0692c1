//! The budgets. A pickle that exceeds one of the first five is refused; what exceeds one of the others becomes a text.

/// The nodes of a pickle.
pub(super) const NODES: usize = 100_000;
/// The marks that are open at once.
pub(super) const MARKS: usize = 1_000;
/// The values on the stack at once.
pub(super) const STACK: usize = 2 * NODES;
/// The values in the memo.
pub(super) const MEMO: usize = 100_000;
/// The bytes of a line: of a name, or of a text or number in protocol 0.
pub(super) const LINE: usize = 64 << 10;
/// The digits of an integer.
pub(super) const DIGITS: usize = 4_096;
/// The lists and maps of one value inside one another.
pub(super) const DEPTH: usize = 64;
/// The bytes of all values of a record together, roughly as JSON has them. A pickle of a few bytes can name one text many times.
pub(super) const OUTPUT: usize = 1 << 20;
