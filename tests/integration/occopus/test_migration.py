"""Files in the form that Occopus' users have are taken as they stand: docs/how-to/migrate-from-occopus.md."""

from __future__ import annotations

import pathlib

import pytest

from occo_celery import errors
from occo_celery.api import importing
from occo_celery.compiler import compile
from occo_celery.encryption import Encryption

EC2 = """
'node_def:ec2_hello_node':
    -
        resource:
            type: ec2
            endpoint: https://ec2.eu-west-1.amazonaws.com
            regionname: eu-west-1
            image_id: ami-12345678
            instance_type: t2.small
            key_name: my_key
            security_group_ids:
                -
                    sg-12345678
            subnet_id: subnet-12345678
        contextualisation:
            type: cloudinit
            context_template: !yaml_import
                url: file://cloud_init.yaml
        health_check:
            ping: False
            ports:
                - 22
            timeout: 600
"""

CLOUD_INIT = """
write_files:
- content: "{{ variables.message }} from {{ getprivip('receiver') }}"
  path: /tmp/hello.txt
  permissions: '0644'
runcmd:
- [ sh, -c, "echo {{ infra_id }} {{ node_id }}" ]
"""

DOCKER = """
'node_def:docker_sender_node':
    -
        resource:
            type: docker
            endpoint: unix://var/run/docker.sock
            origin: https://images.example.org/busybox_hello.tar
            image: busybox_hello
            tag: latest
        contextualisation:
            type: docker
            env: ["message={{variables.message}}"]
            command: ["sh", "-c", "echo \\"$message\\" > /root/message.txt; wget {{getip('receiver')}}"]
        health_check:
            ping: False
"""

INFRASTRUCTURE = """
user_id: somebody@somewhere.com
infra_name: hello
nodes:
    -   &S
        name: sender
        type: {type}
        filter:
            type: {cloud}
        variables:
            message: Hello World! I am the sender node created by Occopus.
    -   &R
        name: receiver
        type: {type}
        scaling:
            min: 2
            max: 10
variables:
    message: Hello
dependencies:
    -
        connection: [ *S, *R ]
        mappings:
            -
                attributes: [ ipaddress, receiver_address ]
                synch: true
"""


@pytest.mark.parametrize(
    ("cloud", "type_", "text"), [("ec2", "ec2_hello_node", EC2), ("docker", "docker_sender_node", DOCKER)]
)
def test_as_they_stand(tmp_path: pathlib.Path, cloud: str, type_: str, text: str) -> None:
    (tmp_path / "cloud_init.yaml").write_text(CLOUD_INIT)
    (tmp_path / "node_definitions.yaml").write_text(text)
    loaded = importing.load(tmp_path / "node_definitions.yaml", Encryption(()))
    assert list(loaded.definitions) == [type_]
    text = INFRASTRUCTURE.format(type=type_, cloud=cloud)
    desired = compile.compile_description(text, infra_id="i", definitions=loaded.definitions).description
    assert [node.name for node in desired.nodes] == ["sender", "receiver"]
    ((dependee, mapping),) = desired.mappings["sender"]
    assert (dependee, mapping.source, mapping.target) == ("receiver", "ipaddress", "receiver_address")
    assert mapping.synch


def test_a_type_that_is_not_there_yet_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "n.yaml").write_text("'node_def:n':\n  - resource: {type: cloudsigma, endpoint: x, libdrive_id: y}\n")
    with pytest.raises(errors.SchemaError, match="cloudsigma"):
        importing.load(tmp_path / "n.yaml", Encryption(()))
