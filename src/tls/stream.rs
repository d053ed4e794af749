//! The bytes of a connection, with TLS or without.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio_rustls::TlsStream;

use crate::base::socket::{Hangup, Socket};

/// A connection to a client or to an endpoint.
#[derive(Debug)]
pub enum Stream {
    /// As they are.
    Plain(Socket),
    /// Encrypted.
    Tls(Box<TlsStream<Socket>>),
}

impl Stream {
    /// Whether it is encrypted.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether it is open and nothing waits to be read. Costs no system call where nothing came.
    pub fn is_silent(&mut self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_silent(),
            // Not all that comes is HTTP's: a server sends session tickets when it likes.
            Self::Tls(stream) => {
                let read = std::future::poll_fn(|context| {
                    Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut [0]))
                });
                // A task that has had its turn would be told to wait, whatever has come.
                let read = pin!(unconstrained(read));
                read.poll(&mut Context::from_waker(Waker::noop())).is_pending()
            }
        }
    }

    /// Watches for the other side's close, below TLS.
    ///
    /// # Errors
    /// When the system or the runtime does not allow it.
    pub fn hangup(&self) -> io::Result<Hangup> {
        match self {
            Self::Plain(stream) => stream.hangup(),
            Self::Tls(stream) => stream.get_ref().0.hangup(),
        }
    }

    /// Says that nothing follows (RFC 9112 §9.8), as far as that goes without waiting.
    pub fn say_goodbye(&mut self) {
        if self.is_tls() {
            let shutdown =
                std::future::poll_fn(|context| Pin::new(&mut *self).poll_shutdown(context));
            let shutdown = pin!(unconstrained(shutdown));
            drop(shutdown.poll(&mut Context::from_waker(Waker::noop())));
        }
    }

    /// Has the connection end with a reset when it is dropped.
    pub fn reset_on_close(&self) {
        match self {
            Self::Plain(stream) => stream.reset_on_close(),
            Self::Tls(stream) => stream.get_ref().0.reset_on_close(),
        }
    }

    /// Whether something has come, of which a byte is taken: the stream is of no more use then.
    pub fn has_spoken(&mut self) -> bool {
        match self {
            Self::Plain(stream) => stream.has_spoken(),
            Self::Tls(stream) => {
                let mut byte = [0];
                let mut buffer = ReadBuf::new(&mut byte);
                let read = std::future::poll_fn(|context| {
                    Pin::new(&mut *stream).poll_read(context, &mut buffer)
                });
                let read = pin!(unconstrained(read));
                let read = read.poll(&mut Context::from_waker(Waker::noop())).is_ready();
                read && !buffer.filled().is_empty()
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, TlsConnector, server};

    use super::*;

    async fn secure() -> (Stream, server::TlsStream<TcpStream>) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate = CertificateDer::from(made.cert);
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.send_tls13_tickets = 0;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        let name = ServerName::try_from("localhost").unwrap();
        let near = TlsConnector::from(Arc::new(client)).connect(name, Socket::new(near.unwrap()));
        let far = TlsAcceptor::from(Arc::new(server)).accept(far.unwrap().0);
        let (near, far) = tokio::join!(near, far);
        (Stream::Tls(Box::new(near.unwrap().into())), far.unwrap())
    }

    #[tokio::test]
    async fn a_closed_tls_stream_is_not_taken_for_silent_by_a_busy_task() {
        let (mut near, far) = secure().await;
        assert!(near.is_silent());
        drop(far);
        while matches!(&near, Stream::Tls(near) if near.get_ref().0.is_silent()) {
            tokio::task::yield_now().await; // until the runtime has heard of it
        }

        let silent = std::future::poll_fn(|context| {
            // A task that has done so much in one turn is told to wait, whatever it asks for.
            while pin!(tokio::task::consume_budget()).poll(context).is_ready() {}
            Poll::Ready(near.is_silent())
        });

        assert!(!silent.await);
    }
}
