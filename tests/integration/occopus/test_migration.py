"""Files in the form that Occopus' users have are taken as they stand: docs/how-to/migrate-from-occopus.md."""

from __future__ import annotations

import base64
import os
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

NOVA = """
'node_def:nova_hello_node':
    -
        resource:
            type: nova
            endpoint: https://cloud.example.org:5000/v3
            project_id: a678d20e71cb4b9f812a31e5f3eb63b0
            user_domain_name: Default
            image_id: d4f4e496-031a-4f49-b034-f8dafe28e01c
            network_id: 3fd4c62d-5fbe-4bd9-9a9f-c161dabeefde
            flavor_name: 4740c1b8-016d-49d5-a669-2b673f86317c
            server_name: hello
            key_name: my_key
            security_groups:
                -
                    default
            floating_ip: add_yes
            floating_ip_pool: public
            volume_size: 10
            volume_persist: no
        contextualisation:
            type: cloudinit
            context_template: !yaml_import
                url: file://cloud_init.yaml
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
    ("cloud", "type_", "text"),
    [("ec2", "ec2_hello_node", EC2), ("nova", "nova_hello_node", NOVA), ("docker", "docker_sender_node", DOCKER)],
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


MYSQL = """
'node_def:database':
    -
        resource:
            type: ec2
            endpoint: https://ec2.eu-west-1.amazonaws.com
            regionname: eu-west-1
            image_id: ami-12345678
            instance_type: t2.small
        contextualisation:
            type: cloudinit
            context_template: !text_import
                url: file://cloud_init.yaml
        health_check:
            ports:
                - 3306
            mysqldbs:
                - {{ name: shop, user: monitor, pass: {password} }}
"""


def test_checks_of_databases_are_taken_and_their_passwords_encrypted(tmp_path: pathlib.Path) -> None:
    (tmp_path / "cloud_init.yaml").write_text(f"#cloud-config\n{CLOUD_INIT}")
    path = tmp_path / "node_definitions.yaml"
    path.write_text(MYSQL.format(password="'{{ secret(\"monitor\") }}'"))
    (database,) = importing.load(path, Encryption(())).definitions["database"]
    assert database["contextualisation"]["context_template"].startswith("#cloud-config\n")
    path.write_text(MYSQL.format(password="hunter2"))
    with pytest.raises(errors.SchemaError, match="a secret must not be written here") as caught:
        importing.load(path, Encryption(()))
    assert "hunter2" not in str(caught.value)
    key = base64.urlsafe_b64encode(os.urandom(32)).decode()
    loaded = importing.load(path, Encryption((key,)))
    assert "hunter2" not in str(loaded.definitions)
    assert "mysqldbs[0].pass" in str(loaded.warnings)


def test_a_type_that_is_not_there_yet_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "n.yaml").write_text("'node_def:n':\n  - resource: {type: cloudsigma, endpoint: x, libdrive_id: y}\n")
    with pytest.raises(errors.SchemaError, match="cloudsigma"):
        importing.load(tmp_path / "n.yaml", Encryption(()))
