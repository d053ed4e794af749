//! What a list may say and where a fault in it is shown.

use proptest::prelude::{any, prop, proptest};

use super::*;

fn check(form: Form, text: &str, wanted: &[(&str, u32)]) {
    let listed = parse(form, text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    let listed: Vec<(String, u32)> =
        listed.iter().map(|listed| (listed.address.to_string(), listed.weight)).collect();
    let wanted: Vec<(String, u32)> =
        wanted.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect();
    assert_eq!(listed, wanted, "{text}");
}

/// The fault starts with `line:column: ` and contains the rest.
fn refuse(form: Form, text: &str, at: &str, what: &str) {
    let fault = match parse(form, text.as_bytes()) {
        Ok(listed) => panic!("{text} was taken as {listed:?}"),
        Err(fault) => fault.to_string(),
    };
    assert!(fault.starts_with(&format!("{at}: ")), "{text}\n{fault}");
    assert!(fault.contains(what), "{text}\n{fault}");
}

#[test]
fn file_sd_groups_are_read_with_their_weight_and_other_labels_are_ignored() {
    let text = r#"[
        {"targets": ["10.0.0.1:8080", "[fd00::1]:8080"], "labels": {"weight": "2", "env": "x"}},
        {"targets": ["10.0.0.2:8080"], "source": "somebody"},
        {"targets": [], "labels": {}}
    ]"#;
    check(Form::Json, text, &[("10.0.0.1:8080", 2), ("[fd00::1]:8080", 2), ("10.0.0.2:8080", 1)]);
    check(
        Form::Json,
        r#"[{"targets": ["10.0.0.1:1"], "labels": {"weight": 3}}]"#,
        &[("10.0.0.1:1", 3)],
    );
    check(Form::Json, "[]", &[]);
}

#[test]
fn toml_lists_are_read_as_in_a_pool() {
    let text = "endpoints = [\"10.0.0.1:8080\", { address = \"10.0.0.2:8080\", weight = 2 }]";
    check(Form::Toml, text, &[("10.0.0.1:8080", 1), ("10.0.0.2:8080", 2)]);
    check(Form::Toml, "endpoints = [\"unix:/run/app.sock\"]", &[("unix:/run/app.sock", 1)]);
    check(Form::Toml, "endpoints = []", &[]);
    let tables = "[[endpoints]]\naddress = \"10.0.0.1:1\"\n[[endpoints]]\naddress = \"10.0.0.2:1\"";
    check(Form::Toml, tables, &[("10.0.0.1:1", 1), ("10.0.0.2:1", 1)]);
}

#[test]
fn json_faults_say_where_and_what() {
    refuse(Form::Json, "", "1:1", "EOF");
    refuse(Form::Json, "[\n  {\"targets\": [\"10.0.0.1:80\"]},\n  oops\n]", "3:3", "expected");
    refuse(Form::Json, "[{\"targets\": [\n\"web-1:80\"]}]", "2:11", "is a host name");
    refuse(Form::Json, r#"[{"targets": ["10.0.0.1"]}]"#, "1:25", "is no address");
    refuse(Form::Json, r#"[{"targets": ["10.0.0.1:0"]}]"#, "1:27", "port 0");
    refuse(Form::Json, r#"[{"targets": ["unix:app.sock"]}]"#, "1:30", "must be absolute");
    refuse(Form::Json, r#"[{"labels": {}}]"#, "1:15", "targets");
    refuse(Form::Json, r#"{"targets": []}"#, "1:1", "sequence");
    for weight in ["\"-1\"", "\"x\"", "-1", "1.5", "1001", "null"] {
        let text = format!("[{{\"targets\": [], \"labels\": {{\"weight\": {weight}}}}}]");
        let fault = parse(Form::Json, text.as_bytes()).unwrap_err().to_string();
        assert!(fault.contains(WEIGHT), "{text}: {fault}");
    }
}

#[test]
fn toml_faults_say_where_and_what() {
    refuse(Form::Toml, "", "1:1", "endpoints");
    refuse(Form::Toml, "endpoints = [\n  \"10.0.0.1:80\",\n  7,\n]", "3:3", "a text or a table");
    refuse(Form::Toml, "endpoints = [\"ä\", \"web:80\"]", "1:14", "is no address");
    refuse(Form::Toml, "endpoints = [{ weight = 1 }]", "1:14", "needs an `address`");
    refuse(Form::Toml, "endpoints = [{ address = \"10.0.0.1:80\", weight = -1 }]", "1:14", WEIGHT);
    refuse(
        Form::Toml,
        "endpoints = [{ address = \"10.0.0.1:80\", w = 1 }]",
        "1:14",
        "unknown key `w`",
    );
    refuse(Form::Toml, "endpoint = []", "1:1", "unknown field");
    refuse(Form::Toml, "endpoints = [", "1:14", "");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let fault = parse(Form::Json, b"[\n\xff]").unwrap_err();

    assert_eq!(fault.to_string(), "2:1: not UTF-8");
}

#[test]
fn a_host_name_is_told_which_key_to_use() {
    let fault = check_address("web.internal:8080").unwrap_err();

    assert!(fault.contains("use `dns = \"web.internal:8080\"` in the pool instead"), "{fault}");
}

fn one(form: Form, text: &str) -> EndpointSpec {
    parse(form, text.as_bytes()).unwrap_or_else(|fault| panic!("{text}: {fault}")).remove(0)
}

#[test]
fn a_list_says_more_of_an_endpoint_in_either_form() {
    let json = r#"[{"targets": ["10.0.0.1:80"],
        "labels": {"__tenantry_priority": "7", "__tenantry_zone": "eu-1a",
            "__tenantry_state": "draining", "weight": "3"}}]"#;
    let toml = "[[endpoints]]\naddress = \"10.0.0.1:80\"\npriority = 7\nzone = \"eu-1a\"\n\
                state = \"draining\"\nweight = 3";
    let wanted = EndpointSpec {
        weight: 3,
        priority: 7,
        zone: Some("eu-1a".into()),
        state: EndpointState::Draining,
        ..EndpointSpec::new("10.0.0.1:80".parse().unwrap())
    };

    assert_eq!(one(Form::Json, json), wanted);
    assert_eq!(one(Form::Toml, toml), wanted);
    assert_eq!(
        one(Form::Toml, "endpoints = [{ address = \"10.0.0.1:80\", state = \"active\" }]"),
        EndpointSpec::new("10.0.0.1:80".parse().unwrap())
    );
}

/// A word that nobody knows is told: taken for "active" it would send requests to an endpoint that is
/// about to end.
#[test]
fn what_a_list_says_of_an_endpoint_is_what_may_be_said() {
    for (key, value, what) in [
        ("state", "\"drain\"", STATE),
        ("state", "1", STATE),
        ("priority", "-1", PRIORITY),
        ("priority", "65536", PRIORITY),
        ("priority", "\"first\"", PRIORITY),
        ("zone", "\"\"", ZONE),
        ("zone", "\"a b\"", ZONE),
        ("zone", "{}", ZONE),
    ] {
        let toml = format!("endpoints = [{{ address = \"10.0.0.1:80\", {key} = {value} }}]");
        refuse(Form::Toml, &toml, "1:14", what);
        let json = format!("[{{\"targets\": [], \"labels\": {{\"__tenantry_{key}\": {value}}}}}]");
        let fault = parse(Form::Json, json.as_bytes()).unwrap_err().to_string();
        assert!(fault.contains(what), "{json}: {fault}");
    }
}

/// Such lists were taken before these words meant anything here.
#[test]
fn a_list_with_a_state_a_zone_or_a_priority_for_other_readers_is_taken_as_before() {
    let json = r#"[{"targets": ["10.0.0.1:80"],
        "labels": {"state": "running", "zone": "Frankfurt (Main)", "priority": "high"}}]"#;

    assert_eq!(one(Form::Json, json), EndpointSpec::new("10.0.0.1:80".parse().unwrap()));
}

proptest! {
    #[test]
    fn no_text_brings_it_down(text in any::<String>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for form in [Form::Json, Form::Toml] {
            drop(parse(form, text.as_bytes()));
            drop(parse(form, &bytes));
        }
        drop(check_address(&text));
    }
}
