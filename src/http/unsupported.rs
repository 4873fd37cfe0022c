//! Paths that Couplet does not serve: what a client should do about each.

use axum::http::{Method, StatusCode, Uri};

use crate::openai::error::ApiError;

/// OpenAI's endpoints that have no counterpart here, by the first part of their paths, and what to do.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "embeddings",
        "Claude has no embeddings: point the embeddings setting of your client at another server, such as Ollama.",
    ),
    (
        "audio",
        "Claude neither hears nor speaks: point the speech and transcription settings of your client at another server.",
    ),
    (
        "images",
        "Claude draws no images: point the image generation setting of your client at another server.",
    ),
    ("videos", "Claude makes no videos: point the video setting of your client at another server."),
    (
        "moderations",
        "Claude has no moderation model: switch moderation off in your client, or point it at another server.",
    ),
    (
        "responses",
        "The Responses API is not built yet: set your client to Chat Completions, /v1/chat/completions.",
    ),
    (
        "conversations",
        "The Responses API is not built yet: send the whole conversation to /v1/chat/completions.",
    ),
    ("realtime", "There is no realtime API for Claude: use /v1/chat/completions with `stream`."),
    ("files", "Couplet stores no files: send a file with its message, as a part of type `file`."),
    ("uploads", "Couplet stores no files: send a file with its message, as a part of type `file`."),
    (
        "vector_stores",
        "Couplet stores no files and searches none: point the retrieval setting of your client at another server.",
    ),
    (
        "containers",
        "Couplet runs no code and stores no files: switch the code interpreter off in your client.",
    ),
    ("assistants", "Assistants are not offered: send the conversation to /v1/chat/completions."),
    ("threads", "Threads are not offered: send the whole conversation to /v1/chat/completions."),
    ("batches", "Batches are not offered: send the requests one by one."),
    ("fine_tuning", "Claude cannot be fine-tuned here: use the models of /v1/models."),
    ("fine-tunes", "Claude cannot be fine-tuned here: use the models of /v1/models."),
    ("evals", "Evaluations are not offered: run them in a client of /v1/chat/completions."),
    ("edits", "The edits API is gone from OpenAI's as well: use /v1/chat/completions."),
    ("engines", "Engines are called models now: see /v1/models."),
    ("rerank", "Claude has no reranker: point the reranking setting of your client at another server."),
];

/// For paths that do not exist, whatever the method. Never 501: the SDKs would try it three times.
pub async fn unknown_path(method: Method, uri: Uri) -> ApiError {
    let path = uri.path();
    let message = match what_to_do(path) {
        Some(what_to_do) => format!("{method} {path} is not supported. {what_to_do}"),
        None => format!(
            "Unknown endpoint: {method} {path}. Couplet serves /v1/chat/completions, /v1/completions, /v1/messages, \
             /v1/models and /health."
        ),
    };
    ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message).with_code("unsupported_endpoint")
}

fn what_to_do(path: &str) -> Option<&'static str> {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).skip_while(|part| *part == "v1");
    let first = parts.next()?;
    UNSUPPORTED.iter().find(|(name, _)| *name == first).map(|(_, what_to_do)| *what_to_do)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/v1/embeddings", "embeddings setting")]
    #[case("/embeddings/", "embeddings setting")]
    #[case("/v1/v1/embeddings", "embeddings setting")]
    #[case("/v1/audio/transcriptions", "transcription")]
    #[case("/v1/files/file-1/content", "part of type `file`")]
    #[case("/v1/responses/resp_1/input_items", "/v1/chat/completions")]
    #[case("/v1/threads/t/runs/r/submit_tool_outputs", "/v1/chat/completions")]
    #[case("/v1/fine_tuning/jobs", "fine-tuned")]
    fn an_endpoint_of_openai_s_that_is_missing_says_what_to_do(#[case] path: &str, #[case] told: &str) {
        assert!(what_to_do(path).is_some_and(|what_to_do| what_to_do.contains(told)), "{path}");
    }

    #[rstest]
    #[case("/")]
    #[case("/v1")]
    #[case("/v1/embedding")]
    #[case("/v2/embeddings")]
    #[case("/v1/nothing/embeddings")]
    fn any_other_path_is_just_unknown(#[case] path: &str) {
        assert_eq!(what_to_do(path), None);
    }
}
