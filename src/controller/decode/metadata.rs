//! The fields of a record that events are made of: which keys they stand under, and what a value must look like.

use std::net::Ipv4Addr;

use crate::controller::clock::iso_utc;
use crate::controller::fields::{self, Value};
use crate::core::event::{SessionId, Timestamp, UserKey, VmId, VmType};

/// The fields that events are made of.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub(super) body: Option<&'a [u8]>,
    pub(super) module: Option<&'a [u8]>,
    pub(super) vm: Option<VmId>,
    pub(super) ip: Option<Ipv4Addr>,
    pub(super) user: Option<&'a [u8]>,
    pub(super) session: Option<SessionId>,
    pub(super) vm_type: Option<VmType>,
    pub(super) error: Option<&'a [u8]>,
    pub(super) code_text: Option<&'a [u8]>,
    pub(super) code_number: Option<i32>,
    pub(super) signalled: bool,
    pub(super) status: Option<u16>,
    pub(super) final_status: Option<&'a [u8]>,
    pub(super) elapsed: Option<u32>,
    /// It was told, and the clock was set back behind where it counts from.
    pub(super) elapsed_is_negative: bool,
    pub(super) total_time: Option<u32>,
    pub(super) max_wait: Option<u32>,
    pub(super) initial_delay: Option<u32>,
    pub(super) start_time: Option<Timestamp>,
    pub(super) failed_at: Option<Timestamp>,
    pub(super) archived: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// `None`: the metadata is not whole.
    #[inline]
    pub(super) fn read(metadata: &'a [u8]) -> Option<Fields<'a>> {
        let mut fields = Fields::default();
        let whole = fields::scan(metadata, &mut |key, value| fields.take(key, value));
        whole.then_some(fields)
    }

    pub(super) fn user(&self) -> Option<UserKey> {
        self.user.map(UserKey::from_text)
    }

    fn take(&mut self, key: &'a [u8], value: Value<'a>) {
        match key {
            b"module" => self.module = value.text(),
            b"vmIP" | b"ipAddress" | b"internalIP" | b"browserVMIP" => {
                self.ip = value.text().and_then(ipv4)
            }
            b"elapsed" => {
                self.elapsed = value.whole();
                self.elapsed_is_negative = value.integer().is_some_and(i64::is_negative);
            }
            b"finalStatus" => self.final_status = value.text(),
            b"vmId" | b"browserVMId" => self.vm = value.text().and_then(VmId::parse),
            b"error" => self.error = value.text(),
            b"body" => self.body = value.text(),
            b"code" => match value {
                Value::Text(code) => self.code_text = Some(code),
                other => {
                    self.code_number = other.integer().and_then(|code| i32::try_from(code).ok())
                }
            },
            b"signal" => self.signalled = value.text().is_some(),
            b"userId" => self.user = value.text(),
            b"sessionId" => self.session = value.text().and_then(SessionId::parse),
            b"vmType" => {
                self.vm_type = match value {
                    Value::Text(b"browser") => Some(VmType::Browser),
                    Value::Text(b"cli") => Some(VmType::Cli),
                    _ => None,
                }
            }
            b"status" => self.status = value.whole().and_then(|status| u16::try_from(status).ok()),
            b"totalTime" => self.total_time = value.whole(),
            b"maxWaitMs" => self.max_wait = value.whole(),
            b"initialDelayMs" => self.initial_delay = value.whole(),
            b"startTime" => self.start_time = value.text().and_then(iso_utc),
            b"failedAt" => self.failed_at = value.text().and_then(iso_utc),
            b"archivedPath" => self.archived = value.text(),
            _ => {}
        }
    }
}

/// Four numbers and three dots; faster than going through text.
fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut at = 0;
    let mut digits = 0;
    let mut number = 0u16;
    for byte in text {
        match byte {
            b'0'..=b'9' => {
                number = number * 10 + u16::from(byte - b'0');
                digits += 1;
                if number > 255 || digits > 3 {
                    return None;
                }
            }
            b'.' if digits > 0 && at < 3 => {
                octets[at] = u8::try_from(number).ok()?;
                at += 1;
                number = 0;
                digits = 0;
            }
            _ => return None,
        }
    }
    if at != 3 || digits == 0 {
        return None;
    }
    octets[3] = u8::try_from(number).ok()?;
    Some(Ipv4Addr::from(octets))
}
