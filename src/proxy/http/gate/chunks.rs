//! The chunked coding (RFC 9112 §7.1), followed byte by byte and in whole chunks where they are data: only to know where the message ends, and
//! that hyper, which is more lenient, will see the same end.

use super::{Fault, Limits};

/// How far the body of one message has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunks {
    step: Step,
    /// Of the current chunk: the size read so far, then the data still to come.
    left: u64,
    /// Digits of the current size.
    digits: u8,
    /// Bytes in extensions of this message.
    extensions: usize,
    /// Bytes in trailers of this message.
    trailer_bytes: usize,
    /// Trailer lines of this message.
    trailers: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Step {
    /// The digits of a size.
    #[default]
    Size,
    /// White space behind the digits: an extension has to follow.
    Padding,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The start of a trailer, or of the empty line that ends the message.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
    Ended,
}

/// `u64` holds no more. Zeros at the front count: whoever pads that far pads for a reason.
const MAX_DIGITS: u8 = 16;
const MAX_EXTENSIONS: usize = 4 * 1024;

impl Chunks {
    /// Follows the bytes up to the end of the message. Tells how many belong to it and are good, and what is wrong with the next one.
    pub(super) fn follow(&mut self, bytes: &[u8], limits: Limits) -> (usize, Result<(), Fault>) {
        let mut good = 0;
        while !self.has_ended() {
            if self.step == Step::Data {
                let rest = bytes.len() - good;
                let taken = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                good += taken;
                self.left -= taken as u64;
                if self.left > 0 {
                    break;
                }
                self.step = Step::DataCr;
            }
            let Some(byte) = bytes.get(good) else { break };
            match self.after(*byte, limits) {
                Ok(step) => self.step = step,
                Err(fault) => return (good, Err(fault)),
            }
            good += 1;
        }
        (good, Ok(()))
    }

    /// Whether the last byte of the message has been seen.
    pub(super) fn has_ended(&self) -> bool {
        self.step == Step::Ended
    }

    fn after(&mut self, byte: u8, limits: Limits) -> Result<Step, Fault> {
        match (self.step, byte) {
            (Step::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.digit(byte),
            (Step::Size, b'\r') if self.digits > 0 => Ok(Step::SizeLf),
            (Step::Size | Step::Padding, b' ' | b'\t') if self.digits > 0 => self.extended(Step::Padding),
            (Step::Size | Step::Padding, b';') if self.digits > 0 => self.extended(Step::Extension),
            (Step::Size | Step::Padding, _) => Err(Fault::ChunkSize),
            (Step::Extension, b'\r') => Ok(Step::SizeLf),
            (Step::Extension, _) if is_of_value(byte) => self.extended(Step::Extension),
            (Step::SizeLf, b'\n') => {
                self.digits = 0;
                Ok(if self.left == 0 { Step::Line } else { Step::Data })
            }
            (Step::Extension | Step::SizeLf, _) => Err(Fault::ChunkSize),
            (Step::DataCr, b'\r') => Ok(Step::DataLf),
            (Step::DataLf, b'\n') => Ok(Step::Size),
            (Step::Data | Step::DataCr | Step::DataLf, _) => Err(Fault::ChunkEnd),
            (Step::Line | Step::Name | Step::Value | Step::ValueLf | Step::EndLf | Step::Ended, _) => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > limits.max_header_bytes {
                    return Err(Fault::TrailersTooLarge);
                }
                self.after_in_trailers(byte, limits)
            }
        }
    }

    fn digit(&mut self, byte: u8) -> Result<Step, Fault> {
        let digit = char::from(byte).to_digit(16).filter(|_| self.digits < MAX_DIGITS).ok_or(Fault::ChunkSize)?;
        self.digits += 1;
        self.left = self.left << 4 | u64::from(digit);
        Ok(Step::Size)
    }

    fn extended(&mut self, step: Step) -> Result<Step, Fault> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS { Err(Fault::ChunkExtensions) } else { Ok(step) }
    }

    fn after_in_trailers(&mut self, byte: u8, limits: Limits) -> Result<Step, Fault> {
        match (self.step, byte) {
            (Step::Line, b'\r') => Ok(Step::EndLf),
            (Step::Line, _) if self.trailers >= limits.max_headers => Err(Fault::TrailersTooLarge),
            (Step::Line, _) if is_of_name(byte) => {
                self.trailers += 1;
                Ok(Step::Name)
            }
            (Step::Name, b':') => Ok(Step::Value),
            (Step::Name, _) if is_of_name(byte) => Ok(Step::Name),
            (Step::Value, b'\r') => Ok(Step::ValueLf),
            (Step::Value, _) if is_of_value(byte) => Ok(Step::Value),
            (Step::ValueLf, b'\n') => Ok(Step::Line),
            (Step::EndLf, b'\n') => Ok(Step::Ended),
            _ => Err(Fault::Trailer),
        }
    }
}

/// tchar (RFC 9110 §5.6.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// field-vchar, SP and HTAB (RFC 9110 §5.5).
fn is_of_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}
