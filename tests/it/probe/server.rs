//! Servers that answer as no agent does: one thread each, for as long as the test holds them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    taken: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// `answer` has each connection, one after the other, and may keep it by handing it back.
    pub(crate) fn start(
        mut answer: impl FnMut(TcpStream) -> Option<TcpStream> + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let taken = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let (seen, counted) = (Arc::clone(&stopping), Arc::clone(&taken));
        let thread = thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                counted.fetch_add(1, Ordering::SeqCst);
                held.extend(answer(stream));
            }
        });
        Server {
            address,
            taken,
            stopping,
            thread: Some(thread),
        }
    }

    /// Says `text` to each request, and closes.
    pub(crate) fn saying(text: &'static [u8]) -> Server {
        Server::start(move |mut stream| {
            request(&mut stream);
            // A client that has read enough goes away.
            drop(stream.write_all(text));
            None
        })
    }

    /// Says `text` to each request, and then nothing, with the connection open.
    pub(crate) fn stalling_after(text: &'static [u8]) -> Server {
        Server::start(move |mut stream| {
            if !text.is_empty() {
                request(&mut stream);
                stream.write_all(text).expect("the client waits");
            }
            Some(stream)
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn connections(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
    }
}

/// A request's head.
pub(crate) fn request(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time-out can be set");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}
