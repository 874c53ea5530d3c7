//! Printing results, the one place that does.

/// Prints a line of results on stdout.
#[macro_export]
macro_rules! report {
    ($($part:tt)*) => {{
        #[allow(clippy::print_stdout, reason = "results belong on stdout")]
        { println!($($part)*); }
    }};
}
