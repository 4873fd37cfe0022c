//! src/http/openapi/openapi.json is true: of the routes, of the fields, of real answers. `python` holds it against `OpenAPI`'s own
//! rules, and schemathesis against a server.

mod answers;
mod fields;
mod page;
mod routes;

use serde_json::Value;

/// The document as it is written.
pub fn document() -> Value {
    let written = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/openapi/openapi.json");
    serde_json::from_str(&std::fs::read_to_string(written).expect("the document")).expect("JSON")
}

/// What a reference stands for; anything else as it is.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("a reference within the document");
            let target = document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"));
            resolved(document, target)
        }
        None => value,
    }
}

/// All operations: path, method in lower case, what it says.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(|(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}
