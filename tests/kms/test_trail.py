"""What the audit trail says of calls to KMS: which key and material, and nothing that is secret."""

from __future__ import annotations

import base64
import json
from typing import Any

from tests.cloudapi import ApiServer
from tests.front.audited import records, written
from tests.kms.test_imports import FOR_EVER, wrapped

SECRET = b"SECRET-THAT-NOBODY-MAY-READ-HERE"


def test_secrets_stay_out_of_the_trail(api: ApiServer, kms: Any) -> None:
    key_id = kms.create_key(Origin="EXTERNAL", Description="trailed")["KeyMetadata"]["KeyId"]
    material_id = kms.import_key_material(**wrapped(kms, key_id, SECRET), **FOR_EVER)["KeyMaterialId"]
    kms.encrypt(KeyId=key_id, Plaintext=SECRET, EncryptionContext={"seen": "yes"})
    data_key = kms.generate_data_key(KeyId=key_id, KeySpec="AES_256")["Plaintext"]
    records(api, "GenerateDataKey", of=key_id)
    texts = [text for text in map(json.dumps, written(api.store)) if key_id in text]
    for shown in ("trailed", material_id, '"seen"'):
        assert any(shown in text for text in texts), shown
    for secret in (SECRET, data_key):
        assert not any(base64.b64encode(secret).decode() in text or secret.hex() in text for text in texts)
    assert not any(SECRET.decode() in text for text in texts)
