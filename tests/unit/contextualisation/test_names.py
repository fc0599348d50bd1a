"""The names of templates: what there is, and what is said of what is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from occo_celery import errors
from occo_celery.model import description
from occo_celery.plugins.contextualisation import names, templates

WEB = description.NodeDescription(
    name="web",
    type="nginx",
    scaling=description.Scaling(min=2, max=5),
    filter={"regionname": "eu"},
    variables={"port": 80},
)
DB = description.NodeDescription(name="db", type="mysql")
FAR = description.NodeDescription(name="far", type="mysql")
NONE = description.NodeDescription(name="none", type="mysql")
PEERS = {
    "db": [
        names.Peer(
            node_id="id-1", addresses=("147.1.2.3", "10.0.0.5"), attributes={"password": "p", "ip": "9.9.9.9"}
        ),
        names.Peer(node_id="id-2", addresses=("db2.example.org",)),
        names.Peer(node_id="id-3", addresses=()),
    ],
    "none": [],
}
DEFINITION = {"resource": {"type": "ec2"}, "create_timeout": 60, "name": "not this one"}


def dependency(dependee: str, *mappings: tuple[str, str]) -> description.Dependency:
    return description.Dependency(
        dependent="web",
        dependee=dependee,
        mappings=tuple(description.AttributeMapping(source=source, target=target) for source, target in mappings),
    )


def description_of(*dependencies: description.Dependency) -> description.StaticDescription:
    return description.StaticDescription(
        infra_id="infra-1",
        name="shop",
        user_id="me",
        nodes=(WEB, DB, FAR, NONE),
        dependencies=dependencies or (dependency("db"), dependency("none")),
        topological_order=(("db", "far", "none"), ("web",)),
    )


def known(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "description": description_of(),
        "node": WEB,
        "node_id": "id-9",
        "definition": DEFINITION,
        "peers": PEERS,
        "secret": lambda name: f"<{name}>",
        "decrypt": lambda token: f"<{token}>",
    }
    return names.names(**(arguments | changes))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ infra_id }} {{ infra_name }} {{ name }} {{ node_id }} {{ user_id }}", "infra-1 shop web id-9 me"),
        ("{{ type }} {{ filter.regionname }} {{ scaling.min }}-{{ scaling.max }}", "nginx eu 2-5"),
        ("{{ variables.port }} {{ resource.type }} {{ create_timeout }}", "80 ec2 60"),
        (
            "{{ getip('db') }} {{ getprivip('db') }} {{ getipall('db') }}",
            "147.1.2.3 10.0.0.5 ['147.1.2.3', 'db2.example.org']",
        ),
        ("{{ getip('id-2') }} {{ getprivip('id-2') }}", "db2.example.org db2.example.org"),
        ("{{ find_node_id('db') }} {{ find_node_id('db', allnodes=True)|join(',') }}", "id-1 id-1,id-2,id-3"),
        ("{{ getipall('none') }}{{ find_node_id('none', True) }}", "[][]"),
        ("{{ cut('abcdef', 1, 3) }}{{ cut(infra_id, 0, 5) }}", "bcinfra"),
        ("{{ ibget('infrastructure.name') }} {{ ibget('node.resource.address', 'db') }}", "shop 147.1.2.3"),
        ("{{ ibget('node.find', 'db')|length }} {{ ibget('node.find_one', 'db') }}", "3 id-1"),
        ("{{ ibget('infrastructure.name', infra_id) }} {{ ibget('infrastructure.id', infra_id) }}", "shop infra-1"),
        ("{{ ibget('node.find', infra_id=infra_id, name='db')|join(',') }}", "id-1,id-2,id-3"),
        ("{{ ibget('node.find_one', infra_id=infra_id, name='db') }}", "id-1"),
        ("{{ ibget('node.resource.address', find_node_id('db')) }}", "147.1.2.3"),
        ("{{ secret('x') }}", "<x>"),
    ],
)
def test_there_is(text: str, expected: str) -> None:
    assert templates.render(text, known(), "w") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{ getip('far') }}", "node 'web' does not depend on node 'far'; declare it: [web, far] in `dependencies`"),
        ("{{ getipall('far') }}", "does not depend on node 'far'"),
        ("{{ getip('dv') }}", "there is no node 'dv'; there are: web, db, far, none"),
        ("{{ getip('web') }}", "the addresses of node 'web' itself are not known before it is made"),
        ("{{ getip('none') }}", "node 'none' has no running instance"),
        ("{{ find_node_id('none') }}", "node 'none' has no running instance"),
        ("{{ getip('id-3') }}", "instance id-3 of node 'id-3' has no address yet"),
        ("{{ ibget('node.password') }}", "ibget() does not know 'node.password'; it knows: infrastructure.id"),
        ("{{ ibget('infrastructure.name', 'infra-2') }}", "ibget() knows nothing of other infrastructures"),
        ("{{ ibget('node.find', name='db', state=1) }}", "ibget('node.find'): got an unexpected keyword argument"),
        ("{{ ibget('node.address') }}", "ibget('node.address'): missing a required argument: 'node'"),
        ("{{ cmd('id') }}", "cmd() is for what an instance is told when it is made"),
    ],
)
def test_there_is_not(text: str, expected: str) -> None:
    with pytest.raises(errors.TemplateError) as caught:
        templates.render(text, known(), "w")
    assert expected in str(caught.value)


def test_cmd_is_there_when_it_is_given() -> None:
    assert templates.render("{{ cmd('id') }}", known(cmd=lambda command: f"ran {command}"), "w") == "ran id"


def test_mapped_attributes_are_names() -> None:
    desired = description_of(
        dependency(
            "db", ("ipaddress", "db_ip"), ("ip", "own_ip"), ("password", "db_password"), ("nothing", "lacking")
        ),
        dependency("none", ("ip", "none_ip")),
        description.Dependency(
            dependent="far", dependee="db", mappings=(description.AttributeMapping(source="ip", target="foreign"),)
        ),
    )
    found = known(description=desired)
    assert (found["db_ip"], found["own_ip"], found["db_password"]) == ("147.1.2.3", "147.1.2.3", "p")
    assert "foreign" not in found
    for name, why in {
        "lacking": "attribute 'nothing' of node 'db': no running instance of it has that",
        "none_ip": "attribute 'ip' of node 'none': no running instance of it has that",
    }.items():
        assert templates.render(f"{{{{ {name} | default('-') }}}}", found, "w") == "-"
        with pytest.raises(errors.TemplateError, match=why):
            templates.render(f"{{{{ {name} }}}}", found, "w")


def test_an_attribute_that_is_withheld_says_why() -> None:
    peer = names.Peer(node_id="id-1", addresses=(), withheld={"password": "it is made from a secret"})
    found = known(description=description_of(dependency("db", ("password", "word"))), peers={"db": [peer]})
    with pytest.raises(errors.TemplateError, match="attribute 'password' of node 'db': it is made from a secret"):
        templates.render("{{ word }}", found, "w")


def test_the_first_instance_that_has_an_attribute_gives_it() -> None:
    peers = [
        names.Peer(node_id=one, addresses=(), attributes=told) for one, told in (("1", {}), ("2", {"port": 5432}))
    ]
    found = known(description=description_of(dependency("db", ("port", "db_port"))), peers={"db": peers})
    assert found["db_port"] == 5432


def test_a_mapping_cannot_take_the_place_of_the_infrastructure() -> None:
    found = known(description=description_of(dependency("db", ("ip", "infra_id"), ("ip", "resource"))))
    assert (found["infra_id"], found["resource"]) == ("infra-1", "147.1.2.3")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.ip_addresses().map(str), min_size=1, max_size=4))
def test_the_private_address_is_one_of_them_and_the_same_each_time(addresses: list[str]) -> None:
    peers = {"db": [names.Peer(node_id="id-1", addresses=tuple(addresses))]}
    text = "{{ getip('db') }} {{ getprivip('db') }}"
    first = templates.render(text, known(peers=peers), "w")
    assert first == templates.render(text, known(peers=peers), "w")
    assert first.split()[0] == addresses[0]
    assert first.split()[1] in addresses
