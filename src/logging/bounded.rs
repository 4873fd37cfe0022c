//! Lines that strangers, or a fault, could have written as often as requests come: so many in a window of time, and then their
//! number.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is known of events that have no line of their own.
pub trait LeftOut: Default + Send + 'static {
    /// What is known of one.
    type One;

    /// Lines in a window.
    const LINES: u32;

    /// How long a window is.
    const WINDOW: Duration;

    /// Counts one more.
    fn count(&mut self, one: Self::One);

    /// Writes the line that tells of all of them; `count` is never 0.
    fn tell(&self, count: u64);
}

/// Says which events have a line of their own. Cheap to clone. What was left out is told at the end of its window, and when
/// the last clone is dropped.
#[derive(Debug)]
pub struct BoundedLines<L: LeftOut>(Arc<Inner<L>>);

#[derive(Debug)]
struct Inner<L: LeftOut>(Mutex<Window<L>>);

#[derive(Debug)]
struct Window<L> {
    begun: Option<Instant>,
    lines: u32,
    count: u64,
    left_out: L,
}

impl<L: LeftOut> BoundedLines<L> {
    /// Whether there is a line for one more; else it is counted.
    pub fn have_room(&self, one: L::One) -> bool {
        let now = Instant::now();
        let mut window = self.0.window();
        if window.begun.is_none_or(|begun| now.duration_since(begun) >= L::WINDOW) {
            window.tell();
            *window = Window { begun: Some(now), ..Window::default() };
        }
        if window.lines < L::LINES {
            window.lines += 1;
            return true;
        }
        let is_first = window.count == 0;
        window.count += 1;
        window.left_out.count(one);
        drop(window);
        if is_first {
            self.tell_soon();
        }
        false
    }

    /// Tells of what was left out though nothing comes any more.
    fn tell_soon(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let inner = Arc::downgrade(&self.0);
        runtime.spawn(async move {
            tokio::time::sleep(L::WINDOW).await;
            if let Some(inner) = inner.upgrade() {
                inner.window().tell();
            }
        });
    }
}

impl<L: LeftOut> Clone for BoundedLines<L> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<L: LeftOut> Default for BoundedLines<L> {
    fn default() -> Self {
        Self(Arc::new(Inner(Mutex::default())))
    }
}

impl<L: LeftOut> Inner<L> {
    fn window(&self) -> MutexGuard<'_, Window<L>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: LeftOut> Drop for Inner<L> {
    fn drop(&mut self) {
        self.window().tell();
    }
}

impl<L: LeftOut> Default for Window<L> {
    fn default() -> Self {
        Self { begun: None, lines: 0, count: 0, left_out: L::default() }
    }
}

impl<L: LeftOut> Window<L> {
    fn tell(&mut self) {
        let (count, left_out) = (std::mem::take(&mut self.count), std::mem::take(&mut self.left_out));
        if count > 0 {
            left_out.tell(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of what was left out.
    #[derive(Debug, Default)]
    struct Sum(u64);

    impl LeftOut for Sum {
        type One = u64;
        const LINES: u32 = 20;
        const WINDOW: Duration = Duration::from_secs(3600);

        fn count(&mut self, one: u64) {
            self.0 += one;
        }

        fn tell(&self, count: u64) {
            tracing::info!(count, sum = self.0, "left out");
        }
    }

    #[test]
    fn a_window_has_so_many_lines_and_the_next_one_has_them_anew() {
        let written = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(written.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().json().with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || {
            let lines = BoundedLines::<Sum>::default();
            let with_line = |count: u32| (0..count).filter(|_| lines.have_room(3)).count();
            assert_eq!(with_line(1000), 20);
            assert_eq!(lines.0.window().count, 980);
            lines.0.window().begun = Instant::now().checked_sub(Sum::WINDOW);
            assert_eq!(with_line(120), 20);
            assert_eq!(lines.0.window().count, 100, "counted anew");
        });
        let told: Vec<serde_json::Value> = std::fs::read_to_string(written.path())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let sums: Vec<_> = told.iter().map(|line| &line["fields"]["sum"]).collect();
        assert_eq!(sums, [980 * 3, 100 * 3], "at the end of the window, and when nobody counts any more");
    }
}
