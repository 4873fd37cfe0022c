//! What the installed CLI is and which of the younger switches it has.

/// Switches that not every supported release has. A CLI that lacks one refuses to start when it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CliFeatures {
    /// `--restricted` (in 2.1.270, not in 2.1.240).
    pub restricted: bool,
    /// `--permission-prompts` (in 2.1.270, not in 2.1.240).
    pub permission_prompts: bool,
}

impl CliFeatures {
    /// Reads the text of `claude --help`.
    #[must_use]
    pub fn from_help(help: &str) -> Self {
        let has = |switch: &str| {
            help.split(|c: char| c.is_whitespace() || c == ',' || c == '[' || c == '<')
                .any(|word| word == switch)
        };
        Self { restricted: has("--restricted"), permission_prompts: has("--permission-prompts") }
    }
}

/// Reads the version from the text of `claude --version`, as `2.1.329 (Claude Code)`.
#[must_use]
pub fn version(text: &str) -> Option<&str> {
    let word = text.split_whitespace().next()?;
    let is_version = word.split('.').count() == 3
        && word.split('.').all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit()));
    is_version.then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_found_as_whole_words() {
        let help = "  --permission-prompt-tool <tool>   x\n  --permission-prompts <mode>\n  --restricted  y";
        assert_eq!(CliFeatures::from_help(help), CliFeatures { restricted: true, permission_prompts: true });
        let old = "  --permission-prompt-tool <tool>   about --restricted-mode";
        assert_eq!(CliFeatures::from_help(old), CliFeatures { restricted: false, permission_prompts: false });
    }

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!(version("2.1.329 (Claude Code)\n"), Some("2.1.329"));
        assert_eq!(version("v2 something"), None);
        assert_eq!(version(""), None);
    }
}
