//! The list itself, in the format `CycloneDX`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::crates::{Crate, expression};
use crate::packages::Package;

/// What is in the image beside packages and crates.
#[derive(Debug, Clone)]
pub(super) struct Other {
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: String,
    /// More properties, by name and value.
    pub(super) properties: Vec<(&'static str, String)>,
}

/// Makes the list in the format `CycloneDX` 1.5; the same image makes the same list.
pub(super) fn list(
    version: &str,
    packages: &[Package],
    crates: &BTreeSet<Crate>,
    others: &[Other],
    owned: &BTreeMap<String, Vec<String>>,
) -> Value {
    let property = |name: &str, value: &str| json!({"name": name, "value": value});
    let files_of = |name: &str| -> Vec<Value> {
        let paths = owned.get(name).into_iter().flatten();
        paths.map(|path| property("weir:file", path)).collect()
    };
    let named = |licence: &str| json!([{"license": {"name": licence}}]);
    let mut components: Vec<Value> = packages
        .iter()
        .map(|package| {
            let mut properties = vec![property("debian:source", &package.source)];
            properties.extend(files_of(&package.name));
            json!({
                "type": "application",
                "name": package.name,
                "version": package.version,
                "licenses": named(&format!("as in licences/debian/{}", package.name)),
                "purl": purl(package),
                "properties": properties,
            })
        })
        .collect();
    components.extend(others.iter().map(|other| {
        let own = other.properties.iter();
        let mut properties: Vec<Value> = own.map(|(name, value)| property(name, value)).collect();
        properties.extend(files_of(&other.name));
        json!({
            "type": other.kind,
            "name": other.name,
            "version": other.version,
            "licenses": named(&other.licence),
            "properties": properties,
        })
    }));
    components.extend(crates.iter().map(|krate| {
        let mut component = json!({
            "type": "library",
            "name": krate.name,
            "version": krate.version,
            "licenses": [{"expression": expression(&krate.licence)}],
            "purl": format!("pkg:cargo/{}@{}", krate.name, krate.version),
        });
        let files = files_of(&krate.name);
        if krate.ours
            && !files.is_empty()
            && let Some(component) = component.as_object_mut()
        {
            component.insert("properties".to_owned(), files.into());
        }
        component
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "operating-system", "name": "weir-appliance", "version": version},
        },
        "components": components,
    })
}

fn purl(package: &Package) -> String {
    let version = package.version.replace('+', "%2B").replace(':', "%3A");
    format!(
        "pkg:deb/debian/{}@{version}?arch={}&distro=debian-12",
        package.name.replace('+', "%2B"),
        package.architecture
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::crates::{crates_of, tests::metadata};
    use crate::sbom::image_itself;

    #[test]
    fn the_list_names_packages_and_crates_by_their_urls() {
        let package = Package {
            name: "busybox-static".into(),
            version: "1:1.35.0-4+deb12u1".into(),
            architecture: "amd64".into(),
            source: "busybox".into(),
            sha256: String::new(),
        };
        let crates = crates_of(&metadata(), "weir").unwrap();
        let owned = BTreeMap::from([
            (
                "busybox-static".to_owned(),
                vec!["/usr/bin/busybox".to_owned()],
            ),
            ("weir".to_owned(), vec!["/usr/bin/weir".to_owned()]),
        ]);
        let others = [image_itself("0.1.0+1")];
        let list = list("0.1.0+1", &[package], &crates, &others, &owned).to_string();
        assert!(list.contains("{\"name\":\"weir:file\",\"value\":\"/usr/bin/busybox\"}"));
        assert!(list.contains("{\"name\":\"weir:file\",\"value\":\"/usr/bin/weir\"}"));
        assert!(list.contains("\"name\":\"weir-image-files\""));
        assert!(list.contains("pkg:deb/debian/busybox-static@1%3A1.35.0-4%2Bdeb12u1?arch=amd64"));
        assert!(list.contains("pkg:cargo/libc@1.0.0"));
        assert!(list.contains("\"expression\":\"MIT OR Apache-2.0\""));
    }
}
