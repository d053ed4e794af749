//! Rules that keep one failure from becoming many: deadlines, retries and their budget. They apply
//! in this order: the deadline bounds everything, the retry rule says what may be tried again, the
//! budget says how much of it.

pub mod adaptive;
pub mod allowance;
pub mod breaker;
pub mod budget;
pub mod canary;
pub mod chance;
pub mod deadline;
pub mod hedging;
pub mod latencies;
pub mod overrun;
pub mod remaining;
pub mod retry;
pub mod typical;
