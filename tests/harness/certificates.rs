//! Certificates for a test, and the authority that signs them.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Project;

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        Identity { certificate: params.signed_by(&key, &self.0).unwrap(), key }
    }
}

impl Identity {
    /// Writes `NAME.crt` and `NAME.key`.
    pub(crate) fn write(&self, project: &Project, name: &str) {
        project.write(&format!("{name}.crt"), &self.certificate.pem());
        project.write_secret(&format!("{name}.key"), &self.key.serialize_pem());
    }

    /// The certificate and the key as texts.
    pub(crate) fn pem(&self) -> [String; 2] {
        [self.certificate.pem(), self.key.serialize_pem()]
    }

    pub(crate) fn parts(&self) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        (self.certificate.der().clone(), PrivateKeyDer::try_from(self.key.serialize_der()).unwrap())
    }
}
