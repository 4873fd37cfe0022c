//! The table that turns what is wrong with an image or file into an error of OpenAI's API.

use axum::http::StatusCode;

use crate::media::failure::{MediaFailure, Problem};
use crate::media::fetch::FetchFailure;
use crate::openai::error::ApiError;

/// What the client reads. The codes are OpenAI's own, as far as it has one for the case.
#[must_use]
pub fn api_error(failure: &MediaFailure) -> ApiError {
    let error = ApiError::invalid_request(failure.field.clone(), failure.to_string());
    match &failure.problem {
        Problem::Url(_) | Problem::UrlsOff | Problem::DataUrl | Problem::Fetch(FetchFailure::Refused(_)) => {
            error.with_code("invalid_image_url")
        }
        Problem::Base64 => error.with_code("invalid_base64_image"),
        Problem::Fetch(FetchFailure::TooLarge { .. }) => error.with_code("image_file_too_large"),
        Problem::Fetch(_) => error.with_code("failed_to_download_image"),
        Problem::Empty | Problem::Blank => error.with_code("empty_file"),
        Problem::NoImage(_) => error.with_code("invalid_image_format"),
        Problem::NoFile(_) => error.with_code("unsupported_file"),
        Problem::Damaged => error.with_code("image_parse_error"),
        Problem::TooManyPixels { .. } => error.with_code("image_too_large"),
        Problem::TooMany { .. } => error.with_code("invalid_value"),
        Problem::TooMuch => {
            ApiError { status: StatusCode::PAYLOAD_TOO_LARGE, ..error }.with_code("request_too_large")
        }
        Problem::Internal => {
            ApiError { status: StatusCode::INTERNAL_SERVER_ERROR, kind: "server_error", ..error }
                .with_code("internal_error")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::address::Refusal;

    #[test]
    fn every_problem_has_its_error() {
        let problems = [
            Problem::Url(Refusal::Invalid),
            Problem::Url(Refusal::Scheme),
            Problem::Url(Refusal::Credentials),
            Problem::Url(Refusal::Port),
            Problem::UrlsOff,
            Problem::DataUrl,
            Problem::Base64,
            Problem::Fetch(FetchFailure::Refused(Refusal::Private)),
            Problem::Fetch(FetchFailure::NoAddress),
            Problem::Fetch(FetchFailure::Unreachable),
            Problem::Fetch(FetchFailure::Broken),
            Problem::Fetch(FetchFailure::Status(404)),
            Problem::Fetch(FetchFailure::Redirects),
            Problem::Fetch(FetchFailure::Encoded),
            Problem::Fetch(FetchFailure::TooLarge { max: 20 * 1024 * 1024 }),
            Problem::Fetch(FetchFailure::TooSlow { seconds: 20 }),
            Problem::Empty,
            Problem::Blank,
            Problem::NoImage(Some("text")),
            Problem::NoImage(None),
            Problem::NoFile(Some("application/zip")),
            Problem::Damaged,
            Problem::TooManyPixels { width: 50_000, height: 50_000 },
            Problem::TooMany { count: 101 },
            Problem::TooMuch,
            Problem::Internal,
        ];
        let rows: Vec<String> = problems
            .into_iter()
            .map(|problem| {
                let error = api_error(&problem.of("messages[0].content[1].image_url.url"));
                let ApiError { status, kind, code, message, param, retry_can_help, .. } = error;
                assert_eq!(
                    (param.as_deref(), retry_can_help),
                    (Some("messages[0].content[1].image_url.url"), false)
                );
                format!("{} {kind} {}: {message}", status.as_u16(), code.unwrap_or("-"))
            })
            .collect();
        insta::assert_snapshot!(rows.join("\n"));
    }
}
