//! Which headers tell the application who calls.

use std::collections::HashMap;

use super::super::fault::Spot;
use super::super::field::{Field, Many, Placed};
use super::super::map::{Map, Read};
use super::super::request::{folded, own_header};
use super::super::{IdentityHeader, IdentityHeaders, OwnHeader, PeerFact, XfccMode};
use super::Reader;

const MAX_OWN_HEADERS: usize = 32;

impl Reader<'_, '_> {
    pub(super) fn identity_headers(
        &mut self,
        send: Many<IdentityHeader>,
        xfcc: Field<XfccMode>,
        own: Map<PeerFact>,
    ) -> IdentityHeaders {
        let default = IdentityHeaders::default();
        let send = self.switched_on(send).unwrap_or(default.send);
        let own = own.read(self.faults).map(|own| self.own_headers(own)).unwrap_or_default();
        let Some(Placed { at, value: xfcc }) = xfcc.placed(self.faults) else {
            return IdentityHeaders { send, xfcc: default.xfcc, own };
        };
        if xfcc != XfccMode::Sanitize && !send.contains(&IdentityHeader::XForwardedClientCert) {
            let message = format!("`{}` is said of a header that is switched off", xfcc.as_str());
            self.faults.add_with_hint(
                at,
                message,
                "name \"x-forwarded-client-cert\" in `identity_headers`, or leave `xfcc` out",
            );
        }
        IdentityHeaders { send, xfcc, own }
    }

    fn switched_on(&mut self, field: Many<IdentityHeader>) -> Option<Vec<IdentityHeader>> {
        let mut send = Vec::new();
        for Placed { at, value: header } in field.list(self.faults)?.items {
            if send.contains(&header) {
                self.faults.add(at, format!("`{}` is named twice", header.as_str()));
            } else {
                send.push(header);
            }
        }
        Some(send)
    }

    fn own_headers(&mut self, own: Read<PeerFact>) -> Vec<OwnHeader> {
        if own.written > MAX_OWN_HEADERS {
            let message = format!("there are {} own headers; {MAX_OWN_HEADERS} are read at most", own.written);
            self.faults.add(own.at, message);
            return Vec::new();
        }
        let mut names: HashMap<String, Spot> = HashMap::new();
        let mut headers = Vec::new();
        for (Placed { at, value: text }, fact) in own.items {
            let name = match own_header(&text) {
                Ok(name) => name,
                Err(wrong) => {
                    wrong.tell(at, self.faults);
                    continue;
                }
            };
            if let Some(first) = names.insert(folded(&text), at) {
                let hint =
                    format!("many applications take `_` for `-`; the other one is at {}", self.faults.place(first));
                self.faults.add_with_hint(at, format!("`{text}` is named twice"), hint);
            }
            headers.push(OwnHeader { name, fact });
        }
        headers
    }
}
