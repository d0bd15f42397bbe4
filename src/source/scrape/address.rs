//! the addresses of targets: which can be asked, and what their samples are known by

/// What is wrong with an address.
pub fn fault(url: &str) -> Option<String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Some(format!("the target `{url}` must start with `http://` or `https://`"));
    }
    let address = url.parse::<hyper::Uri>().ok();
    let host = address.as_ref().and_then(hyper::Uri::host).filter(|host| !host.is_empty());
    // What stands behind the host is a port, or nothing.
    let port = host.and_then(|host| instance(url).strip_prefix(host)).map(|port| port.trim_start_matches(':'));
    match port {
        Some(port) if port.is_empty() || port.parse::<u16>().is_ok() => None,
        _ => Some(format!("the target `{url}` is no address; write it like `http://127.0.0.1:9100/metrics`")),
    }
}

/// Samples of two addresses of one host and port would have the same labels, and nobody could tell them apart.
pub fn twin<'a>(url: &str, mut others: impl Iterator<Item = &'a String>) -> Option<String> {
    let other = others.find(|other| instance(other) == instance(url))?;
    Some(match other == url {
        true => format!("the target `{url}` is there twice; take one away"),
        false => format!(
            "the targets `{other}` and `{url}` would have the same labels, because `instance` is the host and port; give one a \
             source of its own, whose name is its `job`"
        ),
    })
}

/// The host and port of an address.
pub fn instance(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}
