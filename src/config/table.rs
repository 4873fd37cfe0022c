//! What the table of settings is made of.

use super::values::Shape;

/// A setting, as everything but its reader sees it.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The heading it stands under.
    pub group: &'static str,
    /// What it does, a line each.
    pub about: &'static [&'static str],
    /// Its environment variable.
    pub variable: &'static str,
    /// Its key in couplet.toml; its flag is the same with dashes.
    pub key: &'static str,
    /// The value where nobody sets it, empty for none.
    pub default: &'static str,
    /// What happens where nobody sets it and there is no such value.
    pub unset: &'static str,
    /// A value for the example files, where the default would show nothing.
    pub example: &'static str,
    /// Of a table: how one is written in couplet.toml, a line each.
    pub table: &'static str,
    /// How it is written in couplet.toml.
    pub shape: Shape,
    /// Whether it is never shown, has no flag, and may come from a file.
    pub secret: bool,
    /// What is allowed.
    pub allowed: String,
}

/// What a row of the table does not say.
pub(super) const BLANK: Setting = Setting {
    group: "",
    about: &[],
    variable: "",
    key: "",
    default: "",
    unset: "",
    example: "",
    table: "",
    shape: Shape::Text,
    secret: false,
    allowed: String::new(),
};

impl Setting {
    /// Its flag, without the dashes before it. A secret has none of its own: flags are there for all to see.
    #[must_use]
    pub fn flag(&self) -> Option<String> {
        (!self.secret).then(|| flag(self.key))
    }

    /// For a secret: the variable, the key and the flag that name a file with it.
    #[must_use]
    pub fn of_file(&self) -> Option<OfFile> {
        self.secret.then(|| OfFile {
            variable: format!("{}_FILE", self.variable),
            key: format!("{}_file", self.key),
            flag: flag(&format!("{}_file", self.key)),
        })
    }
}

fn flag(key: &str) -> String {
    key.replace('_', "-")
}

/// The names that lead to a file with a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfFile {
    /// The variable.
    pub variable: String,
    /// The key in couplet.toml.
    pub key: String,
    /// The flag, without the dashes before it.
    pub flag: String,
}

/// Declares the settings: the struct that holds them, the table that describes them, and the function that reads them.
macro_rules! settings {
    ($($group:literal {
        $($(#[doc = $about:literal])+ $field:ident: $type:ty, $variable:literal $(, $more:ident = $text:literal)*;)+
    })+) => {
        /// All settings, typed.
        #[derive(Debug, Clone)]
        pub struct Settings {
            $($($(#[doc = $about])+ pub $field: $type,)+)+
        }

        impl Settings {
            /// The table: each setting, in the order of the documentation.
            #[must_use]
            pub fn table() -> &'static [Setting] {
                static TABLE: LazyLock<Vec<Setting>> = LazyLock::new(|| vec![$($(Setting {
                    variable: $variable,
                    group: $group,
                    about: &[$($about),+],
                    key: stringify!($field),
                    shape: <$type as Value>::SHAPE,
                    secret: <$type as Value>::SECRET,
                    allowed: <$type as Value>::allowed(),
                    $($more: $text,)*
                    ..BLANK
                }),+),+]);
                &TABLE
            }

            /// Reads each setting from the layer that has the last word.
            pub(super) fn read(layers: &Layers, problems: &mut Vec<String>) -> Option<(Self, Vec<Effective>)> {
                let mut settings = Self::table().iter();
                let mut effective = Vec::new();
                $($(let $field = read_one::<$type>(settings.next()?, layers, problems, &mut effective);)+)+
                Some((Self { $($($field: $field?,)+)+ }, effective))
            }
        }
    };
}
pub(super) use settings;
