//! `data:` URLs and base64, read as browsers read them.
//!
//! That is strict about what a character of base64 is and lenient about white space and padding. `data:` URLs without
//! `;base64` are percent-encoded bytes. The media type is not looked at: content decides. Sizes are limited by that of a
//! request's body.

use data_url::DataUrl;
use data_url::forgiving_base64;

/// Why a text is no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// No `data:` URL at all: there is no comma in it.
    Form,
    /// Its base64 holds a foreign character, or is cut off.
    Base64,
}

/// The bytes in a `data:` URL.
pub fn bytes_of_url(url: &str) -> Result<Vec<u8>, Broken> {
    let url = DataUrl::process(url).map_err(|_| Broken::Form)?;
    // What follows a `#` is not part of the data.
    let (bytes, _fragment) = url.decode_to_vec().map_err(|_| Broken::Base64)?;
    Ok(bytes)
}

/// The media type in a `data:` URL, lower case, without parameters.
#[must_use]
pub fn declared_type(url: &str) -> Option<String> {
    let url = DataUrl::process(url).ok()?;
    let mime = url.mime_type();
    Some(format!("{}/{}", mime.type_, mime.subtype))
}

/// The bytes of a text in base64.
pub fn bytes_of_base64(text: &str) -> Result<Vec<u8>, Broken> {
    forgiving_base64::decode_to_vec(text.as_bytes()).map_err(|_| Broken::Base64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("data:text/plain;base64,aGk=", b"hi")]
    #[case("DATA:;base64,aGk", b"hi")]
    #[case("data:image/png; charset=x ;BASE64,a G\nk\t=", b"hi")]
    #[case("data:;base64,aGk%3D", b"hi")]
    #[case("data:,a%20b%2Cc,d", b"a b,c,d")]
    #[case("data:text/plain;charset=utf-8,%C3%A9", "é".as_bytes())]
    #[case("data:,hi#fragment", b"hi")]
    #[case("data:,%zz", b"%zz")]
    #[case("data:;base64,", b"")]
    #[case(" data:,x ", b"x")]
    fn a_data_url_is_read_as_browsers_do(#[case] url: &str, #[case] bytes: &[u8]) {
        assert_eq!(bytes_of_url(url).as_deref(), Ok(bytes));
    }

    #[rstest]
    #[case("data:", Broken::Form)]
    #[case("data:image/png;base64", Broken::Form)]
    #[case("date:,x", Broken::Form)]
    #[case("data:;base64,a", Broken::Base64)]
    #[case("data:;base64,aGk==", Broken::Base64)]
    #[case("data:;base64,aGk=aGk=", Broken::Base64)]
    #[case("data:;base64,a-_k", Broken::Base64)]
    #[case("data:;base64,é", Broken::Base64)]
    fn what_is_no_data_url_is_refused(#[case] url: &str, #[case] broken: Broken) {
        assert_eq!(bytes_of_url(url), Err(broken));
    }

    proptest! {
        #[test]
        fn every_file_comes_back_in_each_of_its_forms(
            bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..300
        ) {
            let padded = STANDARD.encode(&bytes);
            let mut spaced = padded.clone();
            spaced.insert_str(at % (spaced.len() + 1), " \r\n");
            for text in [&padded, &STANDARD_NO_PAD.encode(&bytes), &spaced] {
                let url = format!("data:image/png;base64,{text}");
                prop_assert_eq!(bytes_of_base64(text), Ok(bytes.clone()));
                prop_assert_eq!(bytes_of_url(&url), Ok(bytes.clone()));
            }
            let escaped: String = bytes.iter().flat_map(|byte| ["%".to_owned(), format!("{byte:02x}")]).collect();
            prop_assert_eq!(bytes_of_url(&format!("data:,{escaped}")), Ok(bytes));
        }

        #[test]
        fn no_text_makes_it_stumble(text in ".{0,60}") {
            let _ = bytes_of_url(&text);
            let _ = bytes_of_url(&format!("data:{text}"));
            let _ = bytes_of_base64(&text);
        }
    }
}
