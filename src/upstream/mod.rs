//! A scripted Anthropic Messages API on loopback.
//!
//! The real Claude Code CLI is pointed at it with `ANTHROPIC_BASE_URL`, so everything between a client and the model is
//! the real thing and only the model is not. It also measures: what [`Log`] holds is what a model would have been sent.
//!
//! - [`server`]: the listener, [`Upstream`]
//! - [`request`]: a request body, read ([`Asked`])
//! - [`reply`]: what may be answered, as data ([`Reply`])
//! - [`script`]: directives in a prompt → [`Reply`]
//! - [`agent`]: what a model with tools or a schema would do, without a script
//! - [`events`]: [`Reply`] → the events of a stream, or the JSON body
//! - [`answer`]: [`Reply`] → the HTTP response, as data
//! - [`limits`]: the rate-limit headers
//! - [`log`]: what was received, and who left before the end ([`Log`])
//!
//! `POST /v1/messages` answers, `POST /v1/messages/count_tokens` says a quarter of the body's bytes, all else is a 404.
//!
//! # What decides the answer
//!
//! 1. An error, if [`Upstream::refuse`], [`Upstream::refuse_for`] or [`Upstream::be_strict`] forbid the request.
//! 2. Else a reply of [`Upstream::push_reply`], if one is left.
//! 3. Else the directives in the last user message (or, if its text has none, in its tool results), which change
//! 4. the reply of [`Upstream::set_default`], or the demo answer: a call where one must be made, JSON where a schema is
//!    given, else a text.
//!
//! # Directives
//!
//! A directive stands anywhere in the text. Any number may stand there; they work from left to right. Of several text
//! blocks the last one with a directive decides. Times are in seconds. `A|B` is a choice, brackets mark what may be left
//! out, and TEXT may be a JSON string, for line ends and `]]`.
//!
//! | content (the first one replaces the default's) | |
//! |---|---|
//! | `[[words N]]` | `w0 w1 …`, N words |
//! | `[[say TEXT]]` | this text |
//! | `[[echo]]`, `[[echo FIELD]]` | the message less its directives; the JSON of a field of the request body (dotted path) |
//! | `[[think [TEXT]]]` | a thinking block with a signature |
//! | `[[redacted DATA]]` | a `redacted_thinking` block |
//! | `[[tool NAME [JSON]]]` | a tool call; the JSON is sent as it is, in awkward pieces |
//! | `[[json JSON]]` | the call of `StructuredOutput` where that is offered (in its property `value`, if that is all it takes), else the JSON as text |
//! | `[[agent]]` | what an agent would do, for prompts that cannot be scripted: see [`Part::Agent`] |
//! | `[[reluctant [N]]]` | plain text in spite of all that, until it has been answered N times (for ever) without another directive: what comes then is taken for a correction |
//! | `[[empty]]` | no block at all |
//!
//! | its end | |
//! |---|---|
//! | `[[stop REASON]]` | any stop reason; `stop_sequence SEQUENCE` and `refusal [EXPLANATION]` say more |
//! | `[[usage KEY=N …]]` | token counts: `input` (25), `cache_creation` (100), `cache_read` (50), `output` and `thinking` (counted: a word is a token) |
//! | `[[boundless]]` | does not stop at the request's `max_tokens` and `stop_sequences` |
//!
//! | its pace | |
//! |---|---|
//! | `[[delay S]]` | before the response headers |
//! | `[[first S]]` | between `message_start` and the first delta |
//! | `[[slow S]]` | before every later delta |
//! | `[[pings N [S]]]` | N pings before the first delta, with so much time before each |
//! | `[[chunk N]]` | N characters in a delta instead of a word |
//!
//! | what goes wrong | |
//! |---|---|
//! | `[[stall [start\|N]]]` | silence on an open connection: before the headers, after N deltas, or after the last one |
//! | `[[cut [start\|N]]]` | the end of the connection, there |
//! | `[[errevent [start\|N] [TYPE [MESSAGE]]]]` | an `error` event there (`overloaded_error`); an HTTP error at the start and where nothing streams |
//! | `[[err STATUS [TYPE [MESSAGE]]]]` | an HTTP error without rate-limit headers: a 429 is a burst |
//! | `[[limit [S]]]` | the 429 of a usage limit that is lifted in S (3600) seconds |
//! | `[[refuse FIELD [MESSAGE]]]` | a 400 if the request body has that field (dotted path, with numbers for places in arrays; `PATH=VALUE` for that value only) |
//! | `[[once]]` | all of this for the first request with this text only |
//!
//! | headers | |
//! |---|---|
//! | `[[limits off]]`, `[[limits allowed\|allowed_warning\|rejected [USED [S [CLAIM]]]]]` | the unified rate-limit headers: the used share (0.42), the seconds to the reset (18000), the window (`five_hour`) |
//! | `[[header NAME VALUE]]` | any header, such as `retry-after`, `request-id` or `x-should-retry` |

pub mod agent;
pub mod answer;
mod arguments;
mod builder;
pub mod events;
mod instance;
pub mod limits;
pub mod log;
pub mod reply;
pub mod request;
mod rules;
mod schema_merge;
pub mod script;
pub mod server;
#[cfg(test)]
mod tests;

pub use limits::{Limits, Standing};
pub use log::{Log, Progress, Received, TimedOut};
pub use reply::{ApiError, Break, Echo, Part, Place, Reply, Stop, Usage};
pub use request::Asked;
pub use server::Upstream;
