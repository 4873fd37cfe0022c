//! The program itself: its exit status, its end, and what it lets out.

mod drains;
mod ending;
mod hurried;
mod killed;
mod secrets;
mod settings;
