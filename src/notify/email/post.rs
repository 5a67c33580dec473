//! Mails that are no pages: the weekly report, one to each recipient.

use std::time::{Duration, UNIX_EPOCH};

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart};

use super::compose::{header, part};
use super::{Receiver, open_receiver};
use crate::config::Notifier;
use crate::core::event::Timestamp;
use crate::notify::error::{Fault, NotifyError};
use crate::notify::text::one_line;
use crate::notify::{Message, Unusable};

/// What mail servers commonly take, and more than any report needs.
const MOST_BYTES: usize = 5 * 1024 * 1024;

/// A mail's words and pictures, for whoever it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The same for each try, so that a repeated one is the same mail.
    pub id: String,
    /// What mails of one kind have in common, for readers that sort: letters, digits and `-`.
    pub list: &'static str,
    pub subject: String,
    pub text: String,
    pub html: String,
    /// By the `cid` under which the HTML names them.
    pub pictures: Vec<(String, Vec<u8>)>,
}

/// Sends mails through a configured notifier of type `email`.
pub struct Postman {
    receiver: Receiver,
}

impl std::fmt::Debug for Postman {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Postman({})", self.receiver.name)
    }
}

impl Postman {
    /// # Errors
    /// It is no notifier of type `email`, or its certificates cannot be used.
    pub fn new(notifier: &Notifier) -> Result<Postman, Unusable> {
        Ok(Postman {
            receiver: open_receiver(notifier)?,
        })
    }

    /// Who gets its mails.
    #[must_use]
    pub fn recipients(&self) -> Vec<Mailbox> {
        self.receiver.settings.to.clone()
    }

    /// Tries once, for one of them.
    ///
    /// # Errors
    /// The server did not take it; says whether another try could help.
    pub async fn post(
        &mut self,
        mail: &Mail,
        to: &Mailbox,
        at: Timestamp,
    ) -> Result<(), NotifyError> {
        self.receiver.settings.to = vec![to.clone()];
        let body = self.composed(mail, to, at)?;
        if body.len() > MOST_BYTES {
            return Err(NotifyError::permanent(Fault::TooLarge(body.len())));
        }
        let message = Message {
            id: format!("{}-{}", mail.id, to.email),
            incident: mail.id.clone(),
            kind: crate::core::alert::Kind::Update,
            title: mail.subject.clone(),
            body,
        };
        self.receiver.deliver(&message).await.map(drop)
    }

    fn composed(&self, mail: &Mail, to: &Mailbox, at: Timestamp) -> Result<Vec<u8>, NotifyError> {
        let settings = &self.receiver.settings;
        let domain = settings.from.email.domain();
        let ms = u64::try_from(at.0).unwrap_or_default();
        let builder = lettre::Message::builder()
            .from(settings.from.clone())
            .to(to.clone())
            .subject(one_line(&mail.subject))
            .date(UNIX_EPOCH + Duration::from_millis(ms))
            .message_id(Some(format!("<{}@{domain}>", mail.id)))
            .raw_header(header("Auto-Submitted", "auto-generated".to_owned()))
            .raw_header(header("X-Auto-Response-Suppress", "All".to_owned()))
            .raw_header(header(
                "List-Id",
                format!("<{}.bootwatch.{domain}>", mail.list),
            ));
        let png_type = ContentType::parse("image/png").map_err(|error| {
            tracing::error!(%error, "a picture cannot be sent");
            NotifyError::permanent(Fault::Request)
        })?;
        let mut related = MultiPart::related()
            .boundary(format!("=_bootwatch_{}_r", mail.list))
            .singlepart(part(ContentType::TEXT_HTML, mail.html.clone()));
        for (cid, png) in &mail.pictures {
            related = related.singlepart(
                Attachment::new_inline(cid.clone()).body(png.clone(), png_type.clone()),
            );
        }
        let parts = MultiPart::alternative()
            .boundary(format!("=_bootwatch_{}_a", mail.list))
            .singlepart(part(ContentType::TEXT_PLAIN, mail.text.clone()))
            .multipart(related);
        builder
            .multipart(parts)
            .map(|mail| mail.formatted())
            .map_err(|error| {
                tracing::error!(%error, "a mail cannot be made");
                NotifyError::permanent(Fault::Request)
            })
    }
}
