//! The program itself: its exit status, its end, and what it lets out.

mod ending;
mod secrets;
mod settings;
