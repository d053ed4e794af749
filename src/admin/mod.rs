//! The operators' API: its own listener, on the control runtime. It reads what control publishes
//! and asks control to reload; it never reaches the data path.
