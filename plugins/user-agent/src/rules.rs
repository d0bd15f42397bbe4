//! the rules: tokens in the order in which they decide
//!
//! Browsers name each other ("Chrome … Safari", "like Gecko"), so the rarer name stands above the one it borrows.
//! The lists are ours, from reading logs; a name missing here falls to the general rules below it.

/// What a user agent says of itself. Everything is absent where it says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Agent {
    /// The program, by the name of its product on any platform: `Chrome`, `Googlebot`, `curl`.
    pub family: Option<String>,
    /// The first number of its version.
    pub major: Option<i64>,
    /// The operating system: `Windows`, `Android`, `iOS`.
    pub os: Option<&'static str>,
    /// `desktop`, `mobile`, `tablet`, `bot`, `tool` or `unknown`.
    pub device: Option<&'static str>,
}

/// Those that fetch pages for machines: token and family.
const BOTS: &[(&str, &str)] = &[
    ("Googlebot-Image", "Googlebot-Image"),
    ("Googlebot-Video", "Googlebot-Video"),
    ("Googlebot-News", "Googlebot-News"),
    ("Googlebot-Mobile", "Googlebot-Mobile"),
    ("AdsBot-Google", "AdsBot-Google"),
    ("Mediapartners-Google", "Mediapartners-Google"),
    ("FeedFetcher-Google; (+", "FeedFetcher-Google"),
    ("Google Favicon", "Google Favicon"),
    ("Google-Read-Aloud", "Google-Read-Aloud"),
    ("Googlebot", "Googlebot"),
    ("bingbot", "bingbot"),
    ("BingPreview", "BingPreview"),
    ("msnbot-media", "msnbot-media"),
    ("msnbot", "msnbot"),
    ("Yahoo! Slurp", "Yahoo! Slurp"),
    ("Baiduspider", "Baiduspider"),
    ("YandexBot", "YandexBot"),
    ("DuckDuckBot", "DuckDuckBot"),
    ("Applebot", "Applebot"),
    ("AhrefsBot", "AhrefsBot"),
    ("SemrushBot", "SemrushBot"),
    ("MJ12bot", "MJ12bot"),
    ("GPTBot", "GPTBot"),
    ("facebookexternalhit", "facebookexternalhit"),
    ("Twitterbot", "Twitterbot"),
    ("WhatsApp", "WhatsApp"),
    ("Pingdom", "Pingdom"),
    ("UptimeRobot", "UptimeRobot"),
    ("archive.org_bot", "archive.org_bot"),
    ("Google-AMPHTML", "Google-AMPHTML"),
    ("AppEngine-Google", "AppEngine-Google"),
    ("Sogou web spider", "Sogou web spider"),
    ("FlipboardProxy", "FlipboardProxy"),
    ("Feedbin", "Feedbin"),
    ("Embedly", "Embedly"),
];

/// Libraries and commands: token and family.
const TOOLS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("Wget", "Wget"),
    ("HTTPie", "HTTPie"),
    ("python-requests", "python-requests"),
    ("Python-urllib", "Python-urllib"),
    ("aiohttp", "aiohttp"),
    ("httpx", "httpx"),
    ("Go-http-client", "Go-http-client"),
    ("Go ", "Go"),
    ("okhttp", "okhttp"),
    ("Apache-HttpClient", "Apache-HttpClient"),
    ("Java", "Java"),
    ("libwww-perl", "libwww-perl"),
    ("PostmanRuntime", "PostmanRuntime"),
    ("axios", "axios"),
    ("node-fetch", "node-fetch"),
    ("Ruby", "Ruby"),
    ("Faraday", "Faraday"),
    ("PHP", "PHP"),
    ("GuzzleHttp", "GuzzleHttp"),
    ("kube-probe", "kube-probe"),
    ("Prometheus", "Prometheus"),
    ("GoogleHC", "GoogleHC"),
    ("ELB-HealthChecker", "ELB-HealthChecker"),
    ("ApacheBench", "ApacheBench"),
    ("k6", "k6"),
    ("git", "git"),
    ("libcurl", "libcurl"),
];

/// Browsers and apps that show pages: token and family. The version follows the token.
const BROWSERS: &[(&str, &str)] = &[
    ("Opera Mini/", "Opera Mini"),
    ("Opera Mini", "Opera Mini"),
    ("OPiOS/", "Opera Mini"),
    ("OPT/", "Opera Touch"),
    ("OPX/", "Opera"),
    ("OPR/", "Opera"),
    ("EdgiOS/", "Edge"),
    ("EdgA/", "Edge"),
    ("Edge/", "Edge"),
    ("Edg/", "Edge"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("UCBrowser/", "UC Browser"),
    ("UCBrowser", "UC Browser"),
    ("UCWEB", "UC Browser"),
    ("YaBrowser/", "Yandex Browser"),
    ("Vivaldi/", "Vivaldi"),
    ("MiuiBrowser/", "Miui Browser"),
    ("HuaweiBrowser/", "Huawei Browser"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Maxthon/", "Maxthon"),
    ("CoolNovo/", "CoolNovo"),
    ("Puffin/", "Puffin"),
    ("QQBrowser/", "QQ Browser"),
    ("MicroMessenger/", "WeChat"),
    ("Instagram ", "Instagram"),
    ("FBAV/", "Facebook"),
    ("FBAN/", "Facebook"),
    ("Telegram", "Telegram"),
    ("GSA/", "Google App"),
    ("Silk/", "Amazon Silk"),
    ("Electron/", "Electron"),
    ("PhantomJS/", "PhantomJS"),
    ("FxiOS/", "Firefox"),
    ("Focus/", "Firefox Focus"),
    ("Klar/", "Firefox Klar"),
    ("SeaMonkey/", "SeaMonkey"),
    ("PaleMoon/", "Pale Moon"),
    ("Iceweasel/", "Iceweasel"),
    ("BonEcho/", "Firefox"),
    ("Minefield/", "Firefox"),
    ("Thunderbird/", "Thunderbird"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Epiphany/", "Epiphany"),
    ("Konqueror/", "Konqueror"),
    ("Lynx/", "Lynx"),
    ("Links (", "Links"),
    ("w3m/", "w3m"),
    ("IEMobile/", "Internet Explorer Mobile"),
    ("MobileSafari/", "Safari"),
    ("NokiaBrowser/", "Nokia Browser"),
    ("BrowserNG/", "Nokia Browser"),
    ("Dolfin/", "Dolphin"),
];

/// What runs the browser: any of the tokens, and the system. Android says "Linux" too, iOS says "Mac OS X".
const SYSTEMS: &[(&[&str], &str)] = &[
    (&["Windows Phone", "IEMobile"], "Windows Phone"),
    (&["Xbox"], "Xbox"),
    (&["Windows", "Win64", "Win98"], "Windows"),
    (&["iPhone", "iPad", "iPod", "iOS", "MobileSafari", "Mobile/"], "iOS"),
    (&["Android", "Dalvik", "Adr "], "Android"),
    (&["KAIOS"], "KaiOS"),
    (&["Tizen"], "Tizen"),
    (&["Web0S", "webOS", "hpwOS"], "webOS"),
    (&["CrOS"], "ChromeOS"),
    (&["Mac OS X", "Macintosh", "Mac_PowerPC", "Darwin"], "macOS"),
    (&["BlackBerry", "BB10", "RIM Tablet"], "BlackBerry"),
    (&["SymbOS", "Symbian", "Series60", "Series 60", "S60"], "Symbian"),
    (&["Bada"], "Bada"),
    (&["FreeBSD"], "FreeBSD"),
    (&["OpenBSD"], "OpenBSD"),
    (&["NetBSD"], "NetBSD"),
    (&["SunOS"], "Solaris"),
    (&["PlayStation"], "PlayStation"),
    (&["J2ME"], "Java ME"),
    (&["Linux", "linux", "Ubuntu", "X11"], "Linux"),
];

/// Everything that can be told from a user agent.
pub fn recognise(text: &str) -> Agent {
    let os = SYSTEMS.iter().find(|(tokens, _)| tokens.iter().any(|token| text.contains(token))).map(|(_, os)| *os);
    if let Some((family, major)) = bot(text) {
        // Everybody begins with `Mozilla`: as a name it says nothing.
        let (family, major) = if family == "Mozilla" { (None, None) } else { (Some(family), major) };
        return Agent { family, major, os, device: Some("bot") };
    }
    if let Some((family, major)) = tool(text) {
        return Agent { family: Some(family), major, os, device: Some("tool") };
    }
    let (family, major) = browser(text).unzip();
    Agent { family, major: major.flatten(), os, device: Some(device(text, os)) }
}

type Named = (String, Option<i64>);

fn bot(text: &str) -> Option<Named> {
    if let Some(named) = first_of(BOTS, text) {
        return Some(named);
    }
    let lower = text.to_ascii_lowercase();
    let marked = ["bot", "spider", "crawl", "slurp", "nutch"].into_iter().find(|mark| has_mark(&lower, mark));
    if let Some(mark) = marked {
        return Some(product_with(text, mark).unwrap_or_else(|| first_product(text)));
    }
    if let Some((_, after)) = text.split_once("compatible; ")
        && !["MSIE", "Konqueror", "Opera", "iCab", "Windows"].iter().any(|browser| after.starts_with(browser))
    {
        return Some(first_product(after));
    }
    // A browser has no address of its own to show.
    let shows_address = lower.contains("http://") || lower.contains("https://") || lower.contains("+www");
    shows_address.then(|| first_product(text))
}

/// `bot` ends a word, and is not the end of Cubot, a make of telephones.
fn has_mark(lower: &str, mark: &str) -> bool {
    lower.match_indices(mark).any(|(at, _)| {
        let after = lower[at + mark.len()..].chars().next();
        let ends_word = !after.is_some_and(|next| next.is_ascii_alphabetic());
        mark != "bot" || ends_word && !lower[..at].ends_with("cu")
    })
}

fn tool(text: &str) -> Option<Named> {
    let (token, family) = TOOLS.iter().find(|(token, _)| text.starts_with(token))?;
    Some(((*family).to_owned(), number_after(text, token)))
}

fn browser(text: &str) -> Option<Named> {
    if let Some(named) = first_of(BROWSERS, text) {
        return Some(named);
    }
    let named = |family: &str, token: &str| Some((family.to_owned(), number_after(text, token)));
    if text.contains("Opera Mobi") {
        return named("Opera Mobile", "Version/");
    }
    if text.contains("Opera") {
        let token = ["Version/", "Opera/", "Opera "].into_iter().find(|token| text.contains(token));
        return named("Opera", token.unwrap_or("Opera"));
    }
    if text.contains("MSIE ") {
        return named("Internet Explorer", "MSIE ");
    }
    if text.contains("Trident/") {
        return named("Internet Explorer", "rv:");
    }
    if text.contains("; wv)") {
        return named("Android WebView", "Chrome/");
    }
    if text.contains("Chrome/") {
        return named("Chrome", "Chrome/");
    }
    if text.contains("Android") && text.contains("Version/") {
        return named("Android Browser", "Version/");
    }
    if text.starts_with("Dalvik/") {
        return named("Dalvik", "Dalvik/");
    }
    if text.contains("BlackBerry") {
        return named("BlackBerry Browser", "Version/");
    }
    if text.contains("Safari/") && !text.contains("Symbian") {
        return named("Safari", "Version/");
    }
    if text.contains("AppleWebKit/") && text.contains("Mobile/") {
        return named("Safari", "Version/");
    }
    if text.contains("Gecko/") {
        return named("Mozilla", "rv:");
    }
    let first = first_product(text);
    (first.0 != "Mozilla").then_some(first)
}

fn device(text: &str, os: Option<&str>) -> &'static str {
    let has_any = |tokens: &[&str]| tokens.iter().any(|token| text.contains(token));
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
        Some("Windows Phone" | "Symbian" | "BlackBerry" | "KaiOS" | "Bada" | "Java ME" | "iOS") => "mobile",
        Some("Windows" | "macOS" | "Linux" | "ChromeOS" | "FreeBSD" | "OpenBSD" | "NetBSD" | "Solaris") => "desktop",
        _ => "unknown",
    }
}

fn first_of(list: &[(&str, &str)], text: &str) -> Option<Named> {
    let (token, family) = list.iter().find(|(token, _)| text.contains(token))?;
    Some(((*family).to_owned(), number_after(text, token)))
}

/// The number that follows a token, after at most a slash or a space.
fn number_after(text: &str, token: &str) -> Option<i64> {
    let (_, after) = text.split_once(token)?;
    let after = after.strip_prefix(['/', ' ']).unwrap_or(after);
    let digits = after.bytes().take_while(u8::is_ascii_digit).count();
    after[..digits].parse().ok()
}

/// The word that has the mark in it.
fn product_with(text: &str, mark: &str) -> Option<Named> {
    let has_mark = |word: &&str| word.to_ascii_lowercase().contains(mark) && !word.contains("://");
    let word = text.split([' ', ';', '(', ')', ',', '+']).find(has_mark)?;
    let name = word.split('/').next()?.trim_end_matches(':');
    (!name.is_empty() && name.len() <= FAMILY_BYTES_MAX)
        .then(|| (name.to_owned(), number_after(text, &word[..name.len()])))
}

/// What stands before the first slash or bracket.
fn first_product(text: &str) -> Named {
    let end = text.find(['/', '(', ';']).unwrap_or(text.len());
    let end = (0..=end.min(FAMILY_BYTES_MAX)).rfind(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let name = text[..end].trim();
    (name.to_owned(), number_after(text, name))
}

/// A name longer than this is data.
const FAMILY_BYTES_MAX: usize = 60;
