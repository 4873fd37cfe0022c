//! The content of messages: texts, images and files.

use crate::openai::chat_request::{Content, ContentPart, FilePart};
use crate::openai::error::ApiError;
use crate::turn::{Declared, MediaData, MediaSource, is_blank};

/// The longest file name, in characters: what Anthropic's API takes as the title of a document.
pub(super) const MAX_FILE_NAME: usize = 500;

/// A piece of a message of the user or of a tool.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Media(MediaSource),
}

impl Part {
    /// The text, where it is one.
    pub(super) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Media(_) => None,
        }
    }
}

/// The parts of a content, a list of one for a plain string.
pub(super) fn parts(field: &str, content: Option<Content>) -> Result<Vec<Part>, ApiError> {
    match content {
        None => Ok(Vec::new()),
        Some(Content::Text(text)) => Ok(vec![Part::Text(text)]),
        Some(Content::List(parts)) => {
            let read = |(index, read)| part(&format!("{field}.content[{index}]"), read);
            parts.into_iter().enumerate().map(read).collect()
        }
    }
}

/// The texts of a content that may hold nothing else: Anthropic's API takes images and files only from users and tools.
pub(super) fn texts(field: &str, content: Option<Content>) -> Result<Vec<String>, ApiError> {
    let text = |(index, part)| match part {
        Part::Text(text) => Ok(text),
        Part::Media(_) => {
            let message = "Images and files can only be in messages of the user or of a tool.";
            Err(ApiError::invalid_request(format!("{field}.content[{index}]"), message)
                .with_code("invalid_value"))
        }
    };
    parts(field, content)?.into_iter().enumerate().map(text).collect()
}

fn part(field: &str, part: ContentPart) -> Result<Part, ApiError> {
    match part.r#type.as_str() {
        "text" => {
            part.text.map(Part::Text).ok_or_else(|| ApiError::missing_parameter(&format!("{field}.text")))
        }
        "refusal" => part
            .refusal
            .map(Part::Text)
            .ok_or_else(|| ApiError::missing_parameter(&format!("{field}.refusal"))),
        "image_url" => {
            let image =
                part.image_url.ok_or_else(|| ApiError::missing_parameter(&format!("{field}.image_url")))?;
            let field = format!("{field}.image_url.url");
            let data = MediaData::Url(image.url);
            Ok(Part::Media(MediaSource { field, declared: Declared::Image, data }))
        }
        "file" => {
            let file = part.file.ok_or_else(|| ApiError::missing_parameter(&format!("{field}.file")))?;
            self::file(&format!("{field}.file"), file).map(Part::Media)
        }
        "input_audio" => {
            let message = "Claude does not take audio.";
            Err(ApiError::invalid_request(format!("{field}.input_audio"), message)
                .with_code("unsupported_parameter"))
        }
        _ => {
            let field = format!("{field}.type");
            let message =
                format!("'{field}' must be one of 'text', 'refusal', 'image_url', 'input_audio', 'file'.");
            Err(ApiError::invalid_request(field, message).with_code("invalid_value"))
        }
    }
}

fn file(field: &str, file: FilePart) -> Result<MediaSource, ApiError> {
    if file.file_id.is_some() {
        let message = "Couplet stores no files: send the file itself, in 'file_data'.";
        return Err(
            ApiError::invalid_request(format!("{field}.file_id"), message).with_code("unsupported_parameter")
        );
    }
    let name = file.filename.filter(|name| !is_blank(name));
    if name.as_ref().is_some_and(|name| name.chars().count() > MAX_FILE_NAME) {
        let message = format!("A file's name may be {MAX_FILE_NAME} characters long.");
        return Err(
            ApiError::invalid_request(format!("{field}.filename"), message).with_code("invalid_value")
        );
    }
    let field = format!("{field}.file_data");
    let data = file.file_data.ok_or_else(|| ApiError::missing_parameter(&field))?;
    let scheme = data.get(..5).unwrap_or_default();
    let data =
        if scheme.eq_ignore_ascii_case("data:") { MediaData::Url(data) } else { MediaData::Base64(data) };
    Ok(MediaSource { field, declared: Declared::File { name }, data })
}

/// The parts of one message without texts of nothing but white space, which Anthropic's API refuses and the CLI drops.
/// White space between texts is not lost: it goes to the text before it, or else to the one behind it. White space with
/// no text beside it, only images and files, is.
pub(super) fn without_blanks(parts: Vec<Part>) -> Vec<Part> {
    let mut kept: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (kept.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) if is_blank(&text) || is_blank(before) => {
                before.push_str(&text);
            }
            (_, part) => kept.push(part),
        }
    }
    kept.retain(|part| !matches!(part, Part::Text(text) if is_blank(text)));
    kept
}

/// The parts of a tool's result. Texts that follow each other are one, as they always were to the model; a result of
/// nothing but text may be blank.
pub(super) fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => before.push_str(&text),
            (_, part) => joined.push(part),
        }
    }
    let only_text = joined.len() == 1;
    joined.retain(|part| match part {
        Part::Text(text) => {
            if only_text {
                !text.is_empty()
            } else {
                !is_blank(text)
            }
        }
        Part::Media(_) => true,
    });
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn read(content: &Value) -> Result<Vec<Part>, ApiError> {
        parts("messages[0]", Some(serde_json::from_value(content.clone()).unwrap()))
    }

    /// Texts as they are, `None` for an image.
    fn made_of(parts: &[Option<&str>]) -> Vec<Part> {
        let image = || MediaSource {
            field: "f".into(),
            declared: Declared::Image,
            data: MediaData::Url("data:,".into()),
        };
        let part =
            |part: Option<&str>| part.map_or_else(|| Part::Media(image()), |text| Part::Text(text.into()));
        parts.iter().copied().map(part).collect()
    }

    #[test]
    fn images_and_files_keep_their_field_name_and_place() {
        let read = read(&json!([
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "https://e.org/x.png", "detail": "low"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "DATA:application/pdf;base64,JVBERi0="}},
            {"type": "file", "file": {"filename": " ", "file_data": "JVBERi0=", "file_id": null}},
        ]))
        .unwrap();
        let media = |field: &str, declared, data| {
            Part::Media(MediaSource { field: format!("messages[0].content{field}"), declared, data })
        };
        let file = |name: Option<&str>| Declared::File { name: name.map(ToOwned::to_owned) };
        assert_eq!(
            read,
            [
                Part::Text("a".to_owned()),
                media("[1].image_url.url", Declared::Image, MediaData::Url("https://e.org/x.png".to_owned())),
                media(
                    "[2].file.file_data",
                    file(Some("a.pdf")),
                    MediaData::Url("DATA:application/pdf;base64,JVBERi0=".to_owned())
                ),
                media("[3].file.file_data", file(None), MediaData::Base64("JVBERi0=".to_owned())),
            ]
        );
    }

    #[rstest]
    #[case(json!({"type": "text"}), "text")]
    #[case(json!({"type": "refusal"}), "refusal")]
    #[case(json!({"type": "image_url"}), "image_url")]
    #[case(json!({"type": "file"}), "file")]
    #[case(json!({"type": "file", "file": {}}), "file.file_data")]
    #[case(json!({"type": "file", "file": {"file_id": "file-1"}}), "file.file_id")]
    #[case(json!({"type": "file", "file": {"file_data": "x", "filename": "x".repeat(501)}}), "file.filename")]
    #[case(json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), "input_audio")]
    #[case(json!({"type": "hologram"}), "type")]
    fn what_is_no_part_is_refused_by_name(#[case] part: Value, #[case] param: &str) {
        let error = read(&json!([part])).unwrap_err();
        let param = format!("messages[0].content[0].{param}");
        assert_eq!((error.status.as_u16(), error.param), (400, Some(param)));
    }

    #[rstest]
    #[case(&[Some("a"), Some("\n"), Some("b")], &[Some("a\n"), Some("b")])]
    #[case(&[Some(" "), Some("\n"), Some("b"), Some("")], &[Some(" \nb")])]
    #[case(&[Some(""), Some("\u{feff}"), Some("\u{85}")], &[])]
    #[case(&[Some("a"), None, Some("\n"), Some("b")], &[Some("a"), None, Some("\nb")])]
    #[case(&[Some("\n"), None, Some(" "), None, Some("b"), Some(" ")], &[None, None, Some("b ")])]
    fn white_space_between_texts_goes_to_its_neighbour(
        #[case] parts: &[Option<&str>],
        #[case] kept: &[Option<&str>],
    ) {
        assert_eq!(without_blanks(made_of(parts)), made_of(kept));
    }

    #[rstest]
    #[case(&[Some("a"), Some("\n"), Some("b")], &[Some("a\nb")])]
    #[case(&[Some(" ")], &[Some(" ")])]
    #[case(&[Some("")], &[])]
    #[case(&[], &[])]
    #[case(&[Some("a"), None, Some(" "), None, Some("b"), Some("c")], &[Some("a"), None, None, Some("bc")])]
    fn texts_of_a_result_that_follow_each_other_are_one(
        #[case] parts: &[Option<&str>],
        #[case] kept: &[Option<&str>],
    ) {
        assert_eq!(joined(made_of(parts)), made_of(kept));
    }

    #[test]
    fn only_users_and_tools_send_images() {
        let content =
            json!([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}]);
        let error = texts("messages[2]", Some(serde_json::from_value(content).unwrap())).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("messages[2].content[1]"));
    }
}
