use rstest::rstest;

use super::*;

fn made(schema: &Value) -> Value {
    instance(schema, Material { number: -2.5, text: "x y", optional: true })
}

/// Checks with a validator that knows nothing of the maker.
fn fits(schema: &Value, value: &Value) {
    let options = jsonschema::options().should_validate_formats(true);
    let validator = options.build(schema).expect("a schema");
    assert!(validator.is_valid(value), "{value} does not fit {schema}");
}

#[rstest]
#[case(json!({"type": "string"}), json!("x y"))]
#[case(json!({"type": "number"}), json!(-2.5))]
#[case(json!({"type": ["integer", "null"]}), json!(-2))]
#[case(json!({"type": ["null", "boolean"]}), json!(true))]
#[case(json!({"enum": ["b", "a"], "type": "string"}), json!("b"))]
#[case(json!({"const": 9}), json!(9))]
#[case(json!({"const": null}), Value::Null)]
#[case(json!({"anyOf": [{"type": "boolean"}, {"type": "null"}]}), json!(true))]
#[case(json!({"oneOf": [false, {"type": "integer", "minimum": 4}]}), json!(4))]
#[case(json!({"type": "array", "items": {"type": "null"}}), json!([null]))]
#[case(json!({"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": true}), json!(["x y", "2 x y"]))]
#[case(json!({"type": "array", "prefixItems": [{"type": "null"}, {"const": 1}], "items": false}), json!([null, 1]))]
#[case(json!({"type": "array", "items": {}, "maxItems": 0}), json!([]))]
#[case(json!({"$defs": {"d": {"type": "boolean"}}, "$ref": "#/$defs/d"}), json!(true))]
#[case(json!({"definitions": {"a/b": {"type": "null"}}, "$ref": "#/definitions/a~1b", "title": "t"}), Value::Null)]
#[case(json!({"properties": {"a": {"type": "string"}, "b": {}}, "required": ["a"]}), json!({"a": "x y", "b": {}}))]
#[case(json!({"type": "object", "required": ["z"]}), json!({"z": {}}))]
#[case(json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"name": -2}))]
#[case(json!({"type": "object", "additionalProperties": {"const": 1}, "minProperties": 2}), json!({"name": 1, "2 name": 1}))]
#[case(json!({"propertyNames": {"enum": ["k"]}, "additionalProperties": {"const": 1}}), json!({"k": 1}))]
#[case(json!({"allOf": [{"$ref": "#/$defs/a"}, {"properties": {"p": {"maximum": 7}}, "required": ["p"]}],
    "$defs": {"a": {"type": "object", "properties": {"p": {"type": "integer", "minimum": 7}}}}}), json!({"p": 7}))]
#[case(json!({"type": "object", "properties": {"a": {"const": 1}}, "anyOf": [{"required": ["q"], "properties": {"q": {"const": 2}}}]}),
    json!({"a": 1, "q": 2}))]
#[case(json!({}), json!({}))]
#[case(json!(true), json!({}))]
#[case(Value::Null, json!({}))]
fn values_fit_their_schema(#[case] schema: Value, #[case] expected: Value) {
    assert_eq!(made(&schema), expected);
    if !schema.is_null() {
        fits(&schema, &expected);
    }
}

#[rstest]
#[case(json!({"minimum": 3}))]
#[case(json!({"maximum": -10}))]
#[case(json!({"exclusiveMinimum": 0, "exclusiveMaximum": 0.5}))]
#[case(json!({"exclusiveMinimum": 7}))]
#[case(json!({"exclusiveMaximum": -7}))]
#[case(json!({"multipleOf": 5}))]
#[case(json!({"minimum": 11, "maximum": 19, "multipleOf": 5}))]
#[case(json!({"minimum": 0.1, "maximum": 0.2}))]
fn numbers_keep_to_their_bounds(#[case] mut schema: Value) {
    for kind in ["number", "integer"] {
        schema["type"] = kind.into();
        let between_integers = schema["maximum"] == 0.2 || schema["exclusiveMaximum"] == 0.5;
        if kind == "number" || !between_integers {
            fits(&schema, &made(&schema));
        }
    }
}

#[rstest]
#[case(json!({"minLength": 9}))]
#[case(json!({"maxLength": 1}))]
#[case(json!({"format": "date"}))]
#[case(json!({"format": "date-time"}))]
#[case(json!({"format": "time"}))]
#[case(json!({"format": "duration"}))]
#[case(json!({"format": "email"}))]
#[case(json!({"format": "uuid"}))]
#[case(json!({"format": "uri"}))]
#[case(json!({"format": "hostname"}))]
#[case(json!({"format": "ipv4"}))]
#[case(json!({"format": "ipv6"}))]
#[case(json!({"pattern": r"^[A-Z]{2,3}-\d+(\.\w)?$"}))]
#[case(json!({"pattern": "(red|green) [^a]"}))]
#[case(json!({"pattern": "^b+$", "minLength": 5}))]
fn texts_keep_to_their_form(#[case] mut schema: Value) {
    schema["type"] = json!("string");
    fits(&schema, &made(&schema));
}

#[test]
fn a_pattern_that_is_not_regular_gets_a_plain_word() {
    assert_eq!(made(&json!({"type": "string", "pattern": "^(?=a)(a)\\1$"})), "x y");
}

#[rstest]
#[case::tree(json!({"type": "object", "required": ["children"], "properties": {"name": {"type": "string"},
    "children": {"type": "array", "items": {"$ref": "#"}}}}), json!({"name": "x y", "children": [
        {"name": "x y", "children": [{"name": "x y", "children": []}]}]}))]
#[case::list(json!({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "required": ["next"],
    "properties": {"next": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}}}}), json!({"next": {"next": null}}))]
#[case::optional(json!({"properties": {"self": {"$ref": "#"}}}), json!({"self": {"self": {}}}))]
fn what_contains_itself_comes_to_an_end(#[case] schema: Value, #[case] expected: Value) {
    assert_eq!(made(&schema), expected);
    fits(&schema, &expected);
}

#[test]
fn where_the_optional_parts_are_too_many_there_are_none() {
    let wide: Map<_, _> = (0..20).map(|n| (format!("p{n}"), json!({"$ref": "#/$defs/q"}))).collect();
    let deep: Map<_, _> = (0..99).map(|n| (format!("q{n}"), json!({"type": "string"}))).collect();
    let schema = json!({"properties": wide, "required": ["p19"], "$defs": {"q": {"properties": deep}}});
    assert_eq!(made(&schema), json!({"p19": {}}));
}

#[rstest]
#[case::it_never_ends(json!({"properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]}))]
#[case::all_of_itself(json!({"allOf": [{"$ref": "#"}]}))]
#[case::any_of_itself(json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}))]
#[case::a_reference_to_nothing(json!({"$ref": "#/$defs/none"}))]
#[case::a_reference_elsewhere(json!({"$ref": "https://example.com/schema"}))]
#[case::too_many_items(json!({"type": "array", "minItems": 1_000_000_000, "items": {"type": "null"}}))]
#[case::nothing(json!(false))]
fn what_nothing_fits_is_null(#[case] schema: Value) {
    assert_eq!(made(&schema), Value::Null);
}

#[test]
fn no_pattern_is_followed_beyond_its_limit() {
    let text = made(&json!({"type": "string", "pattern": "((a{999}){999}){999}"}));
    assert!(text.as_str().unwrap().len() < 2 * LONGEST_TEXT);
    let text = made(&json!({"type": "string", "minLength": 4_000_000_000_u64}));
    assert_eq!(text.as_str().unwrap().len(), LONGEST_TEXT);
}
