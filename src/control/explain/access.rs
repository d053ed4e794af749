//! Whether a request would be let in, by what it shows itself.

use http::request::Parts;

use crate::auth::jwt::Token;
use crate::auth::{Credential, Refusal};
use crate::routing::naming::{Named, Shown};

use super::Told;

impl Told<'_> {
    /// Refuses what would be refused for what the request itself shows. That it shows nothing is no reason:
    /// who asks need not have a credential.
    pub(super) fn let_in<'n, 'h>(
        &self,
        named: Named<'n, 'h>,
        head: &Parts,
    ) -> Result<Named<'n, 'h>, String> {
        let mut held = None;
        let of = match self.shown(head, &mut held).credential {
            Credential::Nothing => Ok(None),
            Credential::Key(key) => Ok(Some(&*key.tenant)),
            Credential::Token(token) => Ok(Some(&*token.tenant)),
            Credential::Refused(refusal) => Err(refusal),
        };
        let refusal = match of {
            Err(refusal) => Some(refusal),
            Ok(of) if of.is_some_and(|of| of != named.tenant.id()) => Some(Refusal::OtherTenant),
            Ok(_) => {
                let served = named.tenant.access().is_none_or(|own| own.serves(&head.method));
                (!served).then_some(Refusal::Method)
            }
        };
        refusal.map_or(Ok(named), |refusal| Err(format!("is refused: {refusal}")))
    }

    /// Nobody shows a certificate to those who explain.
    pub(super) fn shown<'s>(&'s self, head: &Parts, held: &'s mut Option<Box<Token>>) -> Shown<'s> {
        Shown { certificate: None, credential: self.table.credential(head, held) }
    }
}
