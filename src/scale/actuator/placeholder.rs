//! `{port}` and `{replica}` in a command, its environment, its log's path

use std::net::SocketAddr;

/// The text with a replica's own port and number in it.
pub fn fill(text: &str, address: SocketAddr, replica: u32) -> String {
    text.replace("{port}", &address.port().to_string()).replace("{replica}", &replica.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled() {
        let address = "127.0.0.1:9101".parse().unwrap();
        assert_eq!(fill("--port={port} {replica}/{port} {other}", address, 2), "--port=9101 2/9101 {other}");
    }
}
