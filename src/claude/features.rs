//! What the installed CLI is and which of the younger switches it has.

use crate::turn::Tool;

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

/// Characters of a tool's description beyond which releases before 2.1.300 cut it (measured on 2.1.197, 2.1.240 and
/// 2.1.270). Later ones are told not to.
const CUT_DESCRIPTION: usize = 2048;

/// Whether the CLI of that version cuts a description of one of `tools`.
#[must_use]
pub fn cuts_descriptions(version: &str, tools: &[Tool]) -> bool {
    let is_long = |tool: &Tool| tool.description.encode_utf16().count() > CUT_DESCRIPTION;
    is_before(version, [2, 1, 300]) && tools.iter().any(is_long)
}

/// Whether the CLI of that version can be set up before there is a turn, and asked a blank question, without a trace of that.
/// (2.1.197 sends the blank question to the API, and 2.1.240 does not show the model tools that come later.)
#[must_use]
pub fn can_be_prepared(version: &str) -> bool {
    !is_before(version, [2, 1, 270])
}

/// Whether the CLI of that version tells what it counted from what it estimated: it takes `detail` with `get_context_usage`.
/// (2.1.240 does not, and asks the model itself where nothing can be counted.)
#[must_use]
pub fn can_count(version: &str) -> bool {
    !is_before(version, [2, 1, 270])
}

/// The models to which the CLI gives a budget of thinking. All others think as they see fit, whatever it is told (measured on
/// 2.1.329).
const WITH_BUDGET: [&str; 4] =
    ["claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5", "claude-sonnet-4-2025"];

/// Whether a model, by its full id, thinks within a budget.
#[must_use]
pub fn has_thinking_budget(model: &str) -> bool {
    WITH_BUDGET.iter().any(|known| model.starts_with(known))
}

fn is_before(version: &str, release: [u32; 3]) -> bool {
    let number: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    number.as_slice() < release.as_slice()
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
    fn older_releases_cut_long_descriptions() {
        let tool = |length| Tool {
            name: "f".to_owned(),
            description: "x".repeat(length),
            schema: serde_json::Map::new(),
        };
        let (short, long) = ([tool(CUT_DESCRIPTION)], [tool(1), tool(CUT_DESCRIPTION + 1)]);
        for (version, cuts) in
            [("2.1.197", true), ("2.1.299", true), ("2.1.300", false), ("2.2.0", false), ("10.0.0", false)]
        {
            assert_eq!(cuts_descriptions(version, &long), cuts, "{version}");
            assert!(!cuts_descriptions(version, &short), "{version}");
        }
    }

    #[test]
    fn older_releases_are_not_set_up_ahead() {
        let able = ["2.1.197", "2.1.240", "2.1.270", "2.1.329", "3.0.0"].map(can_be_prepared);
        assert_eq!(able, [false, false, true, true, true]);
    }

    #[test]
    fn a_version_is_three_numbers() {
        assert_eq!(version("2.1.329 (Claude Code)\n"), Some("2.1.329"));
        assert_eq!(version("v2 something"), None);
        assert_eq!(version(""), None);
    }
}
