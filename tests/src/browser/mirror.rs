//! Hands on a page without its policy, in a frame of a given width, with a script that measures.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;

use crate::servers::get;

const MEASURE: &str = include_str!("measure.js");

/// A running mirror of one site; its thread ends with the process.
#[derive(Debug)]
pub struct Mirror {
    port: u16,
}

impl Mirror {
    /// Mirrors what lies below `origin`, such as `http://127.0.0.1:8420`.
    ///
    /// # Panics
    /// When the machine has no port left.
    #[track_caller]
    pub fn of(origin: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let origin = origin.to_owned();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let origin = origin.clone();
                // A browser that has gone needs no answer.
                thread::spawn(move || answer(connection, &origin).ok());
            }
        });
        Self { port }
    }

    /// Where everything comes from that the page may ask for.
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The address of the page in a frame of that many pixels.
    pub fn frame(&self, width: u32) -> String {
        format!("{}/frame/{width}", self.origin())
    }
}

fn answer(mut connection: TcpStream, origin: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(connection.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The rest of the request's head, up to the empty line.
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or("/");
    let (status, text) = page(path, origin);
    let kind = match path.rsplit_once('.') {
        Some((_, "css")) => "text/css",
        Some((_, "js")) => "text/javascript",
        Some((_, "svg")) => "image/svg+xml",
        _ => "text/html; charset=utf-8",
    };
    write!(
        connection,
        "HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{text}",
        text.len()
    )
}

fn page(path: &str, origin: &str) -> (u16, String) {
    if let Some(width) = path.strip_prefix("/frame/") {
        let frame = format!(
            "<!doctype html><meta name=\"color-scheme\" content=\"light dark\">\
             <pre id=\"measured\"></pre>\
             <iframe src=\"/\" style=\"border:0;width:{width}px;height:800px\"></iframe>"
        );
        return (200, frame);
    }
    if path == "/measure.js" {
        return (200, MEASURE.to_owned());
    }
    let Some((status, text)) = get(&format!("{origin}{path}")) else {
        return (502, "the site does not answer".to_owned());
    };
    (status, text.replace("</body>", "<script src=\"/measure.js\"></script></body>"))
}
