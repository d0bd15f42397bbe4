//! the kind of device: what uap's rules leave open, told by marks in the agent
//!
//! The lists are ours, from reading logs.

/// Libraries and commands begin with their name.
const TOOLS: [&str; 36] = [
    "Apache-HttpClient",
    "ApacheBench",
    "CFNetwork",
    "Dart/",
    "ELB-HealthChecker",
    "Faraday",
    "Go ",
    "Go-http-client",
    "GoogleHC",
    "GuzzleHttp",
    "HTTPie",
    "Java",
    "PHP",
    "PostmanRuntime",
    "Prometheus",
    "Python-urllib",
    "Python/",
    "Ruby",
    "Scrapy",
    "Wget",
    "aiohttp",
    "axios",
    "curl",
    "git/",
    "grpc-",
    "httpx",
    "insomnia",
    "k6/",
    "kube-probe",
    "libcurl",
    "libwww-perl",
    "node-fetch",
    "okhttp",
    "python-httpx",
    "python-requests",
    "undici",
];

/// What fetches pages for machines says so in one of these ways.
const BOT_MARKS: [&str; 5] = ["bot", "spider", "crawl", "slurp", "nutch"];

/// `desktop`, `mobile`, `tablet`, `bot`, `tool` or `unknown`.
///
/// `os` and `device` are the families that uap's rules found.
pub fn kind(agent: &str, os: Option<&str>, device: Option<&str>) -> &'static str {
    if device == Some("Spider") || is_bot(agent) {
        return "bot";
    }
    if TOOLS.iter().any(|tool| agent.starts_with(tool)) {
        return "tool";
    }
    let has_any = |marks: &[&str]| marks.iter().any(|mark| agent.contains(mark));
    if has_any(&["SmartTV", "SMART-TV", "Smart-TV", "GoogleTV", "Android TV", "AFTB", "CrKey", "BRAVIA"]) {
        return "unknown";
    }
    if has_any(&["iPad", "Tablet", "Kindle", "PlayBook", "Silk/"]) && !has_any(&["Tablet PC"]) {
        return "tablet";
    }
    if has_any(&["Mobi", "iPhone", "iPod", "Opera Mini", "Dalvik", "MIDP", "WAP", "MAUI", "Maui", "UCWEB"]) {
        return "mobile";
    }
    match os {
        Some("Android") => "tablet",
        Some("iOS" | "KaiOS" | "Windows Phone" | "Windows Mobile" | "Bada") => "mobile",
        Some(os) if os.starts_with("Symbian") || os.starts_with("BlackBerry") => "mobile",
        Some(
            "Windows" | "Mac OS X" | "Mac OS" | "Chrome OS" | "Linux" | "FreeBSD" | "OpenBSD" | "NetBSD" | "Solaris",
        ) => "desktop",
        Some("Ubuntu" | "Fedora" | "Debian" | "Red Hat" | "CentOS" | "SUSE" | "Gentoo" | "Arch Linux" | "Mandriva") => {
            "desktop"
        }
        _ => "unknown",
    }
}

fn is_bot(agent: &str) -> bool {
    let lower = agent.to_ascii_lowercase();
    if BOT_MARKS.iter().any(|mark| has_mark(&lower, mark)) {
        return true;
    }
    if let Some((_, after)) = agent.split_once("compatible; ")
        && !["MSIE", "Konqueror", "Opera", "iCab", "Windows"].iter().any(|browser| after.starts_with(browser))
    {
        return true;
    }
    // A browser has no address of its own to show.
    lower.contains("http://") || lower.contains("https://") || lower.contains("+www")
}

/// `bot` ends a word, and is not the end of Cubot, a make of telephones.
fn has_mark(lower: &str, mark: &str) -> bool {
    lower.match_indices(mark).any(|(at, _)| {
        let after = lower[at + mark.len()..].chars().next();
        let ends_word = !after.is_some_and(|next| next.is_ascii_alphabetic());
        mark != "bot" || ends_word && !lower[..at].ends_with("cu")
    })
}
