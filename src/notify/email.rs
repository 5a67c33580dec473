//! `type = "email"`: a mail, handed to an SMTP server.
//!
//! A mail is laid out when its message is accepted, with its `Message-ID`, so that a repeated try is the same mail to
//! whoever gets it twice. A connection is made for each mail: pages are rare, and servers drop who is idle.
//!
//! ```text
//!   connect ─► EHLO ─► STARTTLS ─► EHLO ─► AUTH ─► MAIL ─► RCPT, one each ─► DATA ─► QUIT
//! ```
//!
//! One deadline is over all of it up to DATA. The reply to the mail itself is waited for longer: a server that looks into
//! a mail takes its time, delivers it all the same, and would deliver it again at each try (RFC 5321, 4.5.3.2.6). One that
//! is lost all the same leaves the mail in doubt, and it is tried again. QUIT is a courtesy whose failure changes nothing.
//! A recipient who is refused for good (5xx) is left out and said; one who is put off (4xx, as by greylisting) is tried
//! again alone. Who was refused is remembered, and so is who has the mail, whichever form of it; that is kept beside the
//! message, too, so that a restart brings it to nobody twice.

mod compose;
mod html;
mod post;
mod settled;
mod wire;

#[cfg(test)]
mod tests;

pub use post::{Mail as Letter, Postman};

use std::io;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Starttls};
use lettre::transport::smtp::extension::ClientId;
use tokio::net::TcpStream;

use super::error::{Cause, Fault, NotifyError};
use super::pace::Pace;
use super::{Attempt, Draft, Duty, Habits, Kind, Message, Taken, Transport, Unusable};
use crate::config::{Channel, Email, Notifier, Security};
use crate::dial;
use settled::Settled;
use wire::Wire;

pub(super) const KIND: Kind = Kind {
    name: "email",
    duty: Duty::Tell(Habits {
        open,
        pace: Pace {
            burst: 10,
            every: Duration::from_secs(2),
        },
        max_age: Duration::from_secs(24 * 3600),
        takes_notices: true,
    }),
};

const CONNECT: Duration = Duration::from_secs(5);
/// So many times the channel's `timeout` a server may take to answer for a mail that it was given whole.
const ANSWER: u32 = 8;
/// Mails beyond this are clipped by readers, and none of ours comes near it.
const MOST_BYTES: usize = 100 * 1024;
/// After the mail was taken: how long a server may take for its good-bye.
const QUIT: Duration = Duration::from_millis(500);
/// Between two addresses of a receipt; none has it.
const BETWEEN: &str = "\n";

const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
const NO_STARTTLS: &str =
    "the mail server offers no STARTTLS; use a server that does, or security = \"tls\"";
const NO_LOGIN: &str = "the mail server offers no login that bootwatch knows (PLAIN, LOGIN); use a server that does, or no username";

struct Receiver {
    name: String,
    settings: Email,
    hello: ClientId,
    privacy: Privacy,
    settled: Settled,
}

/// How a conversation is kept from others.
enum Privacy {
    None,
    StartTls(TlsParameters),
    Tls(TlsParameters),
}

fn open(notifier: &Notifier) -> Result<Box<dyn Transport>, Unusable> {
    Ok(Box::new(open_receiver(notifier)?))
}

fn open_receiver(notifier: &Notifier) -> Result<Receiver, Unusable> {
    let Channel::Email(settings) = &notifier.channel else {
        return Err(Unusable::new(&notifier.name, "it is no mail"));
    };
    super::install_tls();
    let privacy = match settings.security {
        Security::None => Privacy::None,
        Security::StartTls => Privacy::StartTls(tls(&notifier.name, settings)?),
        Security::Tls => Privacy::Tls(tls(&notifier.name, settings)?),
    };
    Ok(Receiver {
        name: notifier.name.clone(),
        settings: (**settings).clone(),
        hello: ClientId::Domain(settings.from.email.domain().to_owned()),
        privacy,
        settled: Settled::default(),
    })
}

/// The certificates that are trusted: the machine's, and those that are configured.
fn tls(notifier: &str, settings: &Email) -> Result<TlsParameters, Unusable> {
    let mut builder = TlsParameters::builder(settings.server.clone());
    if let Some(path) = &settings.ca_file {
        let unreadable = "its ca_file cannot be read as PEM certificates";
        let pem = std::fs::read(path)
            .map_err(|error| Unusable::new(notifier, unreadable).because(error))?;
        let certificate = Certificate::from_pem(&pem)
            .map_err(|error| Unusable::new(notifier, unreadable).because(error))?;
        // A file without any is read without a complaint.
        if !pem.windows(PEM_BEGIN.len()).any(|part| part == PEM_BEGIN) {
            return Err(Unusable::new(notifier, unreadable));
        }
        builder = builder.add_root_certificate(certificate);
    }
    builder.build_rustls().map_err(|error| {
        Unusable::new(notifier, "TLS to its server cannot be set up").because(error)
    })
}

impl Transport for Receiver {
    fn render(&self, draft: &Draft<'_>) -> Vec<u8> {
        let mail = compose::mail(draft, draft.page, &self.settings);
        if mail.len() <= MOST_BYTES {
            return mail;
        }
        compose::mail(draft, &draft.page.reduced(), &self.settings)
    }

    fn send<'a>(&'a self, message: &'a Message) -> Attempt<'a> {
        Box::pin(async {
            match message.body.len() {
                0 => return Err(NotifyError::permanent(Fault::Request)),
                bytes if bytes > MOST_BYTES => {
                    return Err(NotifyError::permanent(Fault::TooLarge(bytes)));
                }
                _ => {}
            }
            let error = match self.deliver(message).await {
                Ok(taken) => {
                    self.settled.forget(&message.id);
                    return Ok(taken);
                }
                Err(error) => error,
            };
            let with_it = self.settled.of(&message.id).with_it;
            match error {
                // Whoever it is that fails, others have it.
                NotifyError::Transient { .. } if !with_it.is_empty() => {
                    Err(partly(&with_it, &error))
                }
                NotifyError::Permanent { .. } => {
                    self.settled.failed(&message.id);
                    Err(error)
                }
                _ => Err(error),
            }
        })
    }

    fn recall(&self, id: &str, receipt: &str) {
        let with_it: Vec<Address> = receipt
            .split(BETWEEN)
            .filter_map(|address| address.parse().ok())
            .collect();
        self.settled.note(id, |who| who.with_it.extend(with_it));
    }
}

/// What became of the recipients of one try.
#[derive(Default)]
struct Round {
    taken: Vec<Address>,
    put_off: Option<NotifyError>,
    /// Their places among all, from 1, and why.
    refused: Vec<(usize, NotifyError)>,
}

impl Receiver {
    async fn deliver(&self, message: &Message) -> Result<Taken, NotifyError> {
        let limit = self.settings.timeout;
        let (mut server, mut round) = in_time(limit, self.announce(message)).await?;
        if !round.refused.is_empty() {
            let refused = round.refused.iter();
            let refused = refused.map(|(place, error)| (*place, error.fault()));
            self.settled
                .note(&message.id, |who| who.refused.extend(refused));
        }
        if !round.taken.is_empty() {
            let answered = async { server.message(&message.body).await.map_err(fault_of) };
            in_time(limit * ANSWER, answered).await?;
            self.settled
                .note(&message.id, |who| who.with_it.extend(round.taken));
        }
        leave(server).await;
        if let Some(error) = round.put_off {
            return Err(error);
        }
        // Nobody is left to try again for.
        let who = self.settled.of(&message.id);
        match round.refused.pop() {
            Some((_, error)) if who.with_it.is_empty() => Err(error),
            _ => Ok(Taken {
                refused: who.refused,
                receipt: None,
            }),
        }
    }

    /// A connection on which the mail is awaited, if anybody takes it, and by whom.
    async fn announce(
        &self,
        message: &Message,
    ) -> Result<(AsyncSmtpConnection, Round), NotifyError> {
        let mut server = self.connect().await?;
        let from = Some(self.settings.from.email.clone());
        command(&mut server, Mail::new(from, Vec::new())).await?;
        let round = self.name_recipients(&mut server, message).await?;
        if !round.taken.is_empty() {
            command(&mut server, Data).await?;
        }
        Ok((server, round))
    }

    /// A connection on which a mail may be sent: private and logged in, as configured.
    async fn connect(&self) -> Result<AsyncSmtpConnection, NotifyError> {
        let settings = &self.settings;
        let limit = CONNECT.min(settings.timeout);
        let stream = dial::connect(&settings.server, settings.port, limit)
            .await
            .map_err(unreached)?;
        let wire = match &self.privacy {
            Privacy::None => Wire::in_clear(stream),
            Privacy::Tls(tls) => Wire::private(stream, tls).await.map_err(fault_of)?,
            Privacy::StartTls(tls) => {
                let stream = self.agree_on_tls(stream).await?;
                let wire = Wire::private(stream, tls).await.map_err(fault_of)?;
                wire.greeted()
            }
        };
        let mut server = self.greet(wire).await?;
        if let Some((name, password)) = &settings.login {
            let ways = [Mechanism::Plain, Mechanism::Login];
            if server.server_info().get_auth_mechanism(&ways).is_none() {
                leave(server).await;
                return Err(NotifyError::permanent(Fault::Unusable(NO_LOGIN)));
            }
            let login = Credentials::new(name.clone(), password.expose().to_owned());
            server.auth(&ways, &login).await.map_err(fault_of)?;
        }
        Ok(server)
    }

    async fn greet(&self, wire: Wire) -> Result<AsyncSmtpConnection, NotifyError> {
        AsyncSmtpConnection::connect_with_transport(Box::new(wire), &self.hello)
            .await
            .map_err(fault_of)
    }

    /// The connection on which a TLS handshake is awaited. The conversation before it ends here, with all that was read
    /// of it: what somebody put behind the server's consent is not taken for an answer to what is said in private.
    async fn agree_on_tls(&self, stream: TcpStream) -> Result<TcpStream, NotifyError> {
        let (stream, in_clear) = twice(stream).map_err(unreached)?;
        let mut server = self.greet(Wire::in_clear(in_clear)).await?;
        if !server.can_starttls() {
            leave(server).await;
            return Err(NotifyError::permanent(Fault::Unusable(NO_STARTTLS)));
        }
        command(&mut server, Starttls).await?;
        Ok(stream)
    }

    async fn name_recipients(
        &self,
        server: &mut AsyncSmtpConnection,
        message: &Message,
    ) -> Result<Round, NotifyError> {
        let settled = self.settled.of(&message.id);
        let mut round = Round::default();
        for (place, mailbox) in self.settings.to.iter().enumerate() {
            let address = &mailbox.email;
            if settled.include(place + 1, address) {
                continue;
            }
            match command(server, Rcpt::new(address.clone(), Vec::new())).await {
                Ok(()) => round.taken.push(address.clone()),
                Err(error) => {
                    let Fault::Replied(code) = error.fault() else {
                        return Err(error);
                    };
                    // The place in the list, not the address: logs go further than mails.
                    tracing::warn!(
                        channel = self.name,
                        recipient = place + 1,
                        code,
                        "a recipient was refused"
                    );
                    match error {
                        NotifyError::Transient { .. } | NotifyError::Partly { .. } => {
                            round.put_off = Some(error);
                        }
                        NotifyError::Permanent { .. } => round.refused.push((place + 1, error)),
                    }
                }
            }
        }
        Ok(round)
    }
}

/// Some have it, and others are to be tried again.
fn partly(with_it: &[Address], error: &NotifyError) -> NotifyError {
    let with_it: Vec<String> = with_it.iter().map(Address::to_string).collect();
    NotifyError::Partly {
        fault: error.fault(),
        receipt: with_it.join(BETWEEN),
    }
}

async fn in_time<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, NotifyError>>,
) -> Result<T, NotifyError> {
    tokio::time::timeout(limit, step)
        .await
        .unwrap_or_else(|_| Err(NotifyError::transient(Fault::Timeout)))
}

async fn command(
    server: &mut AsyncSmtpConnection,
    command: impl std::fmt::Display,
) -> Result<(), NotifyError> {
    server.command(command).await.map(drop).map_err(fault_of)
}

/// Two hands on one connection, which ends with the last of them: lettre does not give back the one it has.
fn twice(stream: TcpStream) -> io::Result<(TcpStream, TcpStream)> {
    let one = stream.into_std()?;
    let other = one.try_clone()?;
    Ok((TcpStream::from_std(one)?, TcpStream::from_std(other)?))
}

/// Says good-bye; what comes of it does not matter any more.
async fn leave(mut server: AsyncSmtpConnection) {
    let left = tokio::time::timeout(QUIT, server.quit()).await;
    if !matches!(left, Ok(Ok(_))) {
        tracing::debug!("the mail server did not say good-bye");
    }
}

fn unreached(error: io::Error) -> NotifyError {
    if error.kind() == io::ErrorKind::TimedOut {
        return NotifyError::transient(Fault::Timeout);
    }
    NotifyError::Transient {
        fault: Fault::Network,
        retry_after: None,
        source: Some(error.into()),
    }
}

/// What a failure means. The server's own words are left out: they may quote what we sent.
fn fault_of(error: Error) -> NotifyError {
    if let Some(code) = error.status() {
        let code: u16 = code.into();
        let fault = Fault::Replied(code);
        return match code {
            500..=599 => NotifyError::permanent(fault),
            _ => NotifyError::transient(fault),
        };
    }
    if error.is_timeout() {
        return NotifyError::transient(Fault::Timeout);
    }
    NotifyError::Transient {
        fault: Fault::Network,
        retry_after: None,
        source: cause_of(&error),
    }
}

/// Why the connection failed, in the system's or the certificate check's words.
fn cause_of(error: &Error) -> Option<Cause> {
    let mut cause = std::error::Error::source(error);
    while let Some(under) = cause {
        if let Some(io) = under.downcast_ref::<io::Error>() {
            return Some(io.to_string().into());
        }
        cause = under.source();
    }
    None
}
